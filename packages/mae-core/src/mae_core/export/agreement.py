"""What a narrower ONNX file gives beside float32's: agreement, accuracy, time and size on images of a list."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.export.onnx_file import OnnxRunner
from mae_core.export.ports import Port, random_batch
from mae_core.export.program import Signature

SCORED = 256  # images, at most
_WAY = "batches of 1 on one thread of this machine, CPU time"
_MEANING = {True: "share of images with the same prediction", False: "mean cosine of the outputs of an image"}


class AgreementError(UserError):
    """The narrower model agrees with float32 less than was asked for; nothing was kept."""


class IndexedImages(Protocol):
    """Images [H, W, C] with labels, below 0 where there is none, and indices."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: int) -> tuple[NDArray[Any], Any, Any]: ...


@dataclass(frozen=True)
class SpreadImages:
    """Images spread evenly over a list.

    Args:
        name: of the list.
        most: images taken, at most.
    """

    name: str
    dataset: IndexedImages
    most: int

    def __len__(self) -> int:
        return min(self.most, len(self.dataset))

    def batches(self, ports: Sequence[Port]) -> Iterator[tuple[list[NDArray[Any]], int]]:
        """Yield the inputs of a model for one image, other ones than images drawn, and the image's label."""
        others = random_batch(ports[1:], 1)
        for place in np.linspace(0, len(self.dataset) - 1, len(self)).astype(int):
            pixels, label, _ = self.dataset[int(place)]
            yield [np.asarray(pixels, ports[0].dtype)[None], *others], int(label) if np.ndim(label) == 0 else -1


@dataclass(frozen=True)
class Agreement:
    """A narrower file beside float32's; of pairs, float32 is the first.

    Args:
        images: compared.
        agreement: from 0 to 1; of logits the share of equal predictions, else the mean cosine.
        top1: percent of the labelled images; None without any, or where the output is no logits.
        milliseconds: of one image on one thread, the median.
        sizes: bytes.
    """

    kind: str
    list_name: str
    images: int
    of_predictions: bool
    agreement: float
    top1: tuple[float, float] | None
    milliseconds: tuple[float, float]
    sizes: tuple[int, int]

    def line(self) -> str:
        """Return it as a line for people."""
        what = "predictions agree on" if self.of_predictions else "outputs have a cosine of"
        (exact_ms, ms), (exact_size, size) = self.milliseconds, self.sizes
        top1 = f", top-1 {self.top1[1]:.2f} % (float32 {self.top1[0]:.2f} %)" if self.top1 else ""
        share = f"{100 * self.agreement:.2f} %" if self.of_predictions else f"{self.agreement:.5f}"
        return (
            f"{self.kind} beside float32, {self.images} images of {self.list_name}: {what} {share}{top1};"
            f" {ms:.3g} ms an image (float32 {exact_ms:.3g} ms; {_WAY});"
            f" {size / 1e6:.3g} MB (float32 {exact_size / 1e6:.3g} MB)"
        )

    def describe(self) -> dict[str, object]:
        """Return the entry of the description."""
        pairs = {"top1": self.top1, "milliseconds": self.milliseconds, "bytes": self.sizes}
        names = ("float32", self.kind)
        return {
            "kind": self.kind,
            "list": self.list_name,
            "images": self.images,
            "agreement": self.agreement,
            "agreement_is": _MEANING[self.of_predictions],
            **{name: dict(zip(names, pair, strict=True)) if pair else None for name, pair in pairs.items()},
            "timed": _WAY,
        }

    def require(self, least: float) -> None:
        """Refuse a smaller agreement.

        Raises:
            AgreementError: it is smaller, or not a number.
        """
        if not self.agreement >= least:
            raise AgreementError(
                f"{self.line()}: below --min-agreement {least:g}, nothing was exported; give a smaller bound,"
                " or another kind"
            )


def measure_agreement(exact: Path, narrow: Path, signature: Signature, kind: str, samples: SpreadImages) -> Agreement:
    """Run both files over the samples, image by image and turn by turn."""
    runners = [OnnxRunner(path, threads=1) for path in (exact, narrow)]
    of_predictions = signature.outputs[0].name == "logits"
    agree, seconds, right = [], [], []
    for number, (inputs, label) in enumerate(samples.batches(signature.inputs)):
        if number == 0:
            _timed(runners, inputs)  # the first run makes what the others reuse
        (ours, theirs), spent = _timed(runners, inputs)
        same = float(ours.argmax() == theirs.argmax()) if of_predictions else _cosine(ours, theirs)
        agree.append(same if np.isfinite(theirs).all() else np.nan)
        seconds.append(spent)
        if of_predictions and label >= 0:
            right.append((ours.argmax() == label, theirs.argmax() == label))
    return Agreement(
        kind=kind,
        list_name=samples.name,
        images=len(agree),
        of_predictions=of_predictions,
        agreement=float(np.mean(agree)),
        top1=_pair(100.0 * np.mean(right, axis=0)) if right else None,
        milliseconds=_pair(1e3 * np.median(seconds, axis=0)),
        sizes=(exact.stat().st_size, narrow.stat().st_size),
    )


def _timed(runners: Sequence[OnnxRunner], inputs: list[NDArray[Any]]) -> tuple[list[NDArray[Any]], list[float]]:
    """Return the first output of each, flat, and the CPU seconds that each took."""
    outputs, seconds = [], []
    for runner in runners:
        begun = time.thread_time()
        outputs.append(runner.run(inputs)[0].reshape(-1))
        seconds.append(time.thread_time() - begun)
    return outputs, seconds


def _cosine(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30))


def _pair(both: NDArray[Any]) -> tuple[float, float]:
    return float(both[0]), float(both[1])
