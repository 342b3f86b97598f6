"""Segmentation of whole images by windows of the model's size that overlap."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

from mae_core.errors import NonFiniteError
from mae_core.training.precision import Precision, RoundedWeights
from mae_data.images.windows import Window, fitting_size, sliding_windows
from mae_data.loading.loader import as_paddle_takes
from mae_data.transforms.crops import resized_crop
from mae_data.transforms.pipelines import Picture
from mae_finetune.segmentation.canvas import Canvas


class Strip(NamedTuple):
    """Whole rows of an image.

    Attributes:
        name: of the image.
        top: the first of the rows.
        scores: float32 [K, rows, W], mean logits of the windows on each pixel.
        last: whether they end the image.
    """

    name: str
    top: int
    scores: Tensor
    last: bool


class _Piece(NamedTuple):
    name: str
    height: int
    canvas: Canvas
    window: Window
    pixels: NDArray[Any]


class Segmenter:
    """Segments images at their own size.

    Windows are as large as the model's images, and neighbours share a third of a side: the stride of 341 for 512
    pixels with which MAE's ADE20K results are scored (mmsegmentation). Where an image is smaller, its windows are the
    largest of this shape that fit, and are enlarged. Where windows overlap, logits are averaged.

    Args:
        model: a `SegmentationTransformer` in evaluation mode.
        overlap: pixels that neighbours share; None: a third.
        batch_size: windows in a forward pass, of several images where these are small.
    """

    def __init__(self, model: nn.Layer, precision: Precision, overlap: int | None = None, batch_size: int = 16) -> None:
        self.model, self.precision, self.overlap, self.batch_size = model, precision, overlap, batch_size
        self._weights = RoundedWeights()

    def windows(self, height: int, width: int) -> list[Window]:
        """List the windows of an image."""
        size = fitting_size(self.model.img_size, (height, width))
        overlap = min(self.model.img_size) // 3 if self.overlap is None else self.overlap
        share = min(size) / min(self.model.img_size)
        return sliding_windows(height, width, size, min(int(overlap * share), min(size) - 1))

    def segment(self, pictures: Iterable[tuple[str, Picture]]) -> Iterator[Strip]:
        """Yield all rows of one image after the other, from the top down.

        Args:
            pictures: names, for messages, and images.

        Raises:
            DataError: a window cannot be read.
            NonFiniteError: the model's output is not finite.
        """
        pieces = (piece for name, picture in pictures for piece in self._cut(name, picture))
        while batch := list(islice(pieces, self.batch_size)):
            scores = self._scores(np.stack([piece.pixels for piece in batch]))
            for piece, score in zip(batch, scores, strict=True):
                for top, rows in piece.canvas.add(piece.window, score):
                    if not bool(paddle.isfinite(rows).all()):
                        raise NonFiniteError(f"the model's output for {piece.name} is not finite")
                    yield Strip(piece.name, top, rows, top + rows.shape[1] == piece.height)

    def _cut(self, name: str, picture: Picture) -> Iterator[_Piece]:
        windows = self.windows(picture.height, picture.width)
        canvas = Canvas(windows)
        for window in windows:
            yield _Piece(name, picture.height, canvas, window, resized_crop(picture, window.box, self.model.img_size))

    @paddle.no_grad()
    def _scores(self, pixels: NDArray[Any]) -> Tensor:
        with self.precision.autocast(self._weights):
            scores: Tensor = self.model(paddle.to_tensor(as_paddle_takes(pixels)))
        return scores.astype("float32")
