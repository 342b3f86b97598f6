"""What a classifier says of images that are in no list."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor
from paddle.nn import functional as F

from mae_core.stage.config.from_weights import Opened
from mae_data.images.windows import Window, stitched
from mae_data.loading.bad_images import BadImages
from mae_data.loading.image_windows import ImageWindows
from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import EvalBatchSampler
from mae_finetune.class_names import known_names
from mae_finetune.predicted import printable
from mae_finetune.predictor import BATCH_SIZE, Predictor

TOPK = 5


@dataclass(frozen=True)
class Guess:
    """A class, its name (its number where nobody knows names), and the probability that the model gives it."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What is said of one image: its path, or its place in the input, and the likeliest classes, the best first."""

    image: str
    guesses: tuple[Guess, ...]
    window: Window | None = None

    def line(self) -> str:
        """Return it as a line for people."""
        guesses = (f"{printable(guess.name)} {guess.probability:.4f}" for guess in self.guesses)
        place = f" row {self.window.row} column {self.window.column}" if self.window else ""
        return f"{printable(self.image)}{place}: {', '.join(guesses)}"

    def rows(self) -> Iterator[Sequence[object]]:
        """Return a line for each class: image, rank from 1, label, name, probability.

        Of a window, row, column, height and width follow the image.

        Examples:
            >>> list(Prediction("a.jpg", (Guess(1, "cat", 0.75), Guess(0, "dog", 0.25))).rows())
            [['a.jpg', 1, 1, 'cat', '0.75'], ['a.jpg', 2, 0, 'dog', '0.25']]
        """
        where = [self.image, *(self.window.box if self.window else ())]
        for rank, guess in enumerate(self.guesses, 1):
            yield [*where, rank, guess.label, guess.name, f"{guess.probability:.6g}"]


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


class Classifier(Predictor[Prediction]):
    """A trained classifier, ready for images; see `Predictor`."""

    ranks = True
    columns = ("image", "rank", "label", "name", "probability")
    window_columns = ("image", "row", "column", "height", "width", "rank", "label", "name", "probability")

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.names = known_names(opened.config, self.model)

    def activate(self, outputs: Tensor) -> Tensor:
        """Return probabilities [N, K]."""
        return F.softmax(outputs, axis=-1)

    def say(self, image: str, values: NDArray[np.float32], topk: int | None) -> Prediction:
        """Name the likeliest classes."""
        best = np.argsort(-values, kind="stable")[: topk or TOPK]  # of classes that are as likely, the lower first
        return Prediction(image, tuple(Guess(int(c), self.names[c], float(values[c])) for c in best))

    def predict_windows(
        self,
        paths: Sequence[str],
        overlap: int = 0,
        topk: int | None = None,
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
            array = self._forward(pixels[paddle.to_tensor(used)], said)
            for i, name, row in zip(numbers, said, array, strict=True):
                yield replace(self.say(name, row, topk), window=dataset.windows[i])
            for i, row in zip(numbers, array, strict=True):
                if done and dataset.images[done[0][0]] != dataset.images[i]:
                    on_map(*_map_of(dataset, done, cell))
                    done = []
                done.append((i, row))
        if done:
            on_map(*_map_of(dataset, done, cell))
