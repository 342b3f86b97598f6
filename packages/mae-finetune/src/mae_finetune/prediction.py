"""What a classifier says of images that are in no list: `mae-finetune predict`, and the same from Python."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor
from paddle.nn import functional as F

from mae_core.errors import NonFiniteError, UserError
from mae_core.models import VisionTransformer
from mae_core.process import log
from mae_core.stage.config.from_weights import Opened, load_config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import precision_of
from mae_core.stage.config.to_data_arguments import input_of
from mae_core.training.precision import Precision, RoundedWeights
from mae_data.errors import DataError
from mae_data.images.windows import Window, stitched
from mae_data.loading.bad_images import BadImages
from mae_data.loading.image_paths import ImagePaths
from mae_data.loading.image_windows import ImageWindows
from mae_data.loading.loader import as_paddle_takes, make_loader
from mae_data.loading.preprocess import Images, ModelInput, OneImage, each_image
from mae_data.loading.sampler import EvalBatchSampler
from mae_finetune.build import build_model, load_for_evaluation
from mae_finetune.class_names import names_of
from mae_finetune.config import RECIPE

TOPK = 5
BATCH_SIZE = 32


@dataclass(frozen=True)
class Guess:
    """A class, its name (its number where nobody knows names), and the probability that the model gives it."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What is said of one image: its path, or its place in the input, and the likeliest classes, the best first.

    Attributes:
        window: the part of the image that it is said of; None: all.
    """

    image: str
    guesses: tuple[Guess, ...]
    window: Window | None = None

    def line(self) -> str:
        """Return it as a line for people."""
        guesses = (f"{_printable(guess.name)} {guess.probability:.4f}" for guess in self.guesses)
        place = f" row {self.window.row} column {self.window.column}" if self.window else ""
        return f"{_printable(self.image)}{place}: {', '.join(guesses)}"


def _printable(text: str) -> str:
    """Keep what would steer a terminal out of it: names come from files."""
    return text if text.isprintable() else ascii(text)


class ImageMap(NamedTuple):
    """What is said of an image, laid over it: float32 [rows, columns, classes], and (height, width) of a cell."""

    probabilities: NDArray[np.float32]
    cell: tuple[int, int]


def _map_of(
    dataset: ImageWindows, said: Sequence[tuple[int, NDArray[np.float32]]], cell: tuple[int, int]
) -> tuple[int, ImageMap]:
    """Stitch what was said of an image's windows; return the image's number, too."""
    number = int(dataset.images[said[0][0]])
    windows, rows = [dataset.windows[i] for i, _ in said], np.stack([row for _, row in said])
    return number, ImageMap(stitched(windows, rows, *dataset.sizes[number], cell), cell)


class Classifier:
    """A trained classifier, ready for images.

    Args:
        opened: the config of its run, and its weights.

    Raises:
        UserError: weights, config or names that do not fit.
    """

    def __init__(self, opened: Opened) -> None:
        config = opened.config
        self.model: VisionTransformer = build_model(config)
        self.file = load_for_evaluation(config, opened.weights, self.model).file
        self.model.eval()
        known = names_of(config, self.model)
        if known is None:
            log.LOGGER.warning("no names of the classes are known: they are numbers; --class-names FILE names them")
        known = known or [None] * self.model.num_classes
        self.names = [str(i) if name is None else name for i, name in enumerate(known)]
        with values_from_config():
            self.given = ModelInput(**input_of(config))
        self.precision: Precision = precision_of(config)
        self._weights = RoundedWeights()

    def predict(
        self,
        images: Images,
        topk: int = TOPK,
        batch_size: int = BATCH_SIZE,
        num_workers: int = 0,
        bad: BadImages | None = None,
    ) -> Iterator[Prediction]:
        """Yield a prediction for each image, in their order; a batch of them is in memory at a time.

        Args:
            images: paths, PIL images or uint8 arrays; see `mae_data.preprocess`.
            topk: classes to name, at most as many as there are.
            batch_size: images to a forward pass.
            num_workers: processes that decode a list of paths ahead, on Linux; 0 decodes in this process.
            bad: counts images that cannot be read, for which there is no prediction; None ends at the first.

        Raises:
            UserError: topk or batch_size is not positive.
            DataError: an image cannot be read, or too many; it is named.
            NonFiniteError: the model's output for an image is not finite.
        """
        if topk < 1 or batch_size < 1:
            raise UserError(f"topk={topk}, batch_size={batch_size}; give positive numbers")
        paths = _paths(images) if num_workers else None
        batches = (
            self._loaded(paths, batch_size, num_workers, bad) if paths else self._prepared(images, batch_size, bad)
        )
        for said, pixels in batches:
            yield from self._guess(said, self._probabilities(pixels, said), topk)

    def predict_windows(
        self,
        paths: Sequence[str],
        overlap: int = 0,
        topk: int = TOPK,
        batch_size: int = BATCH_SIZE,
        num_workers: int = 0,
        bad: BadImages | None = None,
        on_map: Callable[[int, ImageMap], None] = lambda number, drawn: None,
    ) -> Iterator[Prediction]:
        """Yield a prediction for each window of each image, at native resolution; see `sliding_windows`.

        Args:
            paths: image files.
            overlap: pixels that neighbouring windows share.
            topk, batch_size, num_workers, bad: see `predict`.
            on_map: takes each image's number and what was said of it, stitched, once its last window is done.

        Raises:
            as `predict`.
        """
        size = self.model.img_size
        dataset = ImageWindows(lambda i: self.given.read(paths[i]), len(paths), size, overlap, bad=bad)
        cell = size[0] - overlap, size[1] - overlap
        done: list[tuple[int, NDArray[np.float32]]] = []
        sampler = EvalBatchSampler(len(dataset), batch_size)
        for pixels, _, indices in make_loader(dataset, sampler, num_workers=num_workers):
            used = np.flatnonzero(indices.numpy() >= 0)
            if not used.size:
                continue
            numbers = indices.numpy()[used].tolist()
            said = [paths[dataset.images[i]] for i in numbers]
            array = self._probabilities(pixels[paddle.to_tensor(used)], said)
            for i, guessed in zip(numbers, self._guess(said, array, topk), strict=True):
                yield replace(guessed, window=dataset.windows[i])
            for i, row in zip(numbers, array, strict=True):
                if done and dataset.images[done[0][0]] != dataset.images[i]:
                    on_map(*_map_of(dataset, done, cell))
                    done = []
                done.append((i, row))
        if done:
            on_map(*_map_of(dataset, done, cell))

    def _prepared(self, images: Images, batch_size: int, bad: BadImages | None) -> Iterator[tuple[list[str], Tensor]]:
        """Yield names and pixels of one batch after the other, decoded in this process."""
        each = self._read_each(images, bad)
        while batch := list(islice(each, batch_size)):
            said, pixels = zip(*batch, strict=True)
            yield list(said), paddle.to_tensor(as_paddle_takes(np.stack(pixels)))

    def _read_each(self, images: Images, bad: BadImages | None) -> Iterator[tuple[str, NDArray[Any]]]:
        for place, image in enumerate(each_image(images)):
            try:
                pixels = self.given.pixels(image)
            except DataError as error:
                if bad is None:
                    raise
                bad.add(place, error)
            else:
                yield _name(image, place), pixels

    def _loaded(
        self, paths: list[str], batch_size: int, num_workers: int, bad: BadImages | None
    ) -> Iterator[tuple[list[str], Tensor]]:
        """Yield the same from worker processes."""
        dataset = ImagePaths(paths, self.given, drops=bad is not None)
        for pixels, _, indices in make_loader(
            dataset, EvalBatchSampler(len(paths), batch_size), num_workers=num_workers
        ):
            used = indices.numpy() >= 0
            for place in (~indices.numpy()[~used]).tolist():
                assert bad is not None
                bad.add(place, self._why(paths[place]))
            if used.any():
                yield [paths[i] for i in indices.numpy()[used].tolist()], pixels[paddle.to_tensor(np.flatnonzero(used))]

    def _why(self, path: str) -> DataError:
        """Return what is wrong with a file that a worker could not read."""
        try:
            self.given.pixels(path)
        except DataError as error:
            return error
        return DataError(f"{path}: could not be read a moment ago")

    @paddle.no_grad()
    def _probabilities(self, pixels: Tensor, said: Sequence[str]) -> NDArray[np.float32]:
        with self.precision.autocast(self._weights):
            logits = self.model(pixels).astype("float32")
        array: NDArray[np.float32] = F.softmax(logits, axis=-1).numpy()
        finite = np.isfinite(array).all(axis=1)
        if not finite.all():
            raise NonFiniteError(f"the model's output for {said[int(np.argmin(finite))]} is not finite")
        return array

    def _guess(self, said: Sequence[str], array: NDArray[np.float32], topk: int) -> Iterator[Prediction]:
        for image, row in zip(said, array, strict=True):
            best = np.argsort(-row, kind="stable")[:topk]  # of classes that are as likely, the lower first
            yield Prediction(image, tuple(Guess(int(c), self.names[c], float(row[c])) for c in best))


def _paths(images: Images) -> list[str] | None:
    """Return images as paths where all of them are; None otherwise."""
    if not isinstance(images, list | tuple) or not all(isinstance(image, str | os.PathLike) for image in images):
        return None
    return [str(image) for image in images]


def _name(image: OneImage, place: int) -> str:
    return str(image) if isinstance(image, str | os.PathLike) else f"image {place}"


def predict(
    pretrained: str | Path,
    images: Images,
    *,
    topk: int = TOPK,
    batch_size: int = BATCH_SIZE,
    num_workers: int = 0,
    cfg: str | None = None,
    class_names: str | Path | None = None,
) -> list[Prediction]:
    """Classify images with a fine-tuned run.

    Args:
        pretrained: run folder, checkpoint folder or weight file that lies in one.
        images: one or several paths, PIL images or uint8 arrays; see `mae_data.preprocess`.
        topk, batch_size, num_workers: see `Classifier.predict`.
        cfg: YAML config, for weights that carry none.
        class_names: file of a name a line, for weights that carry none.

    Raises:
        UserError: weights, config or names that cannot be used.
        DataError: an image that cannot be read.
    """
    flags = {"MODEL.PRETRAINED": str(pretrained)}
    if class_names is not None:
        flags["DATA.CLASS_NAMES"] = str(class_names)
    opened = load_config(RECIPE, cfg, flags, whole=True, say=log.LOGGER.debug)
    return list(Classifier(opened).predict(images, topk, batch_size, num_workers))


def as_json(predictions: Iterable[Prediction]) -> list[dict[str, Any]]:
    """Return predictions as plain values; those of whole images have no window."""
    values = [asdict(prediction) for prediction in predictions]
    return [{key: value for key, value in said.items() if key != "window" or value} for said in values]


def as_csv(predictions: Iterable[Prediction]) -> str:
    """Return a table with a line for each image and class: image, rank from 1, label, name, probability.

    Of windows, row, column, height and width follow the image.

    Examples:
        >>> print(as_csv([Prediction("a.jpg", (Guess(1, "cat", 0.75), Guess(0, "dog", 0.25)))]))
        image,rank,label,name,probability
        a.jpg,1,1,cat,0.75
        a.jpg,2,0,dog,0.25
        <BLANKLINE>
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    said = list(predictions)
    place = ["row", "column", "height", "width"] if said and said[0].window else []
    writer.writerow(["image", *place, "rank", "label", "name", "probability"])
    for p in said:
        where = [p.image, *(p.window.box if p.window else ())]
        writer.writerows([*where, rank, g.label, g.name, f"{g.probability:.6g}"] for rank, g in enumerate(p.guesses, 1))
    return text.getvalue()
