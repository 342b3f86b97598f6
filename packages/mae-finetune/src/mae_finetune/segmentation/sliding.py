"""Segmentation of whole images by windows of the model's size that overlap: each pixel gets the mean of its windows."""

from collections.abc import Iterable, Iterator, Sequence
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
from mae_finetune.segmentation.resampling import resize


class Canvas:
    """The scores of one image; at most the rows of two windows are held, so that scenes of any size can be segmented.

    Args:
        windows: they cover the image, row by row, as `sliding_windows` lists them.
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        self.width = max(window.column + window.width for window in windows)
        starts = sorted({window.row for window in windows})
        ends = dict(zip(starts, [*starts[1:], starts[-1] + windows[0].height], strict=True))
        self._ends = ends  # by the first row of a window: the first row that a later one may still touch
        self._sums: Tensor | None = None  # [K, rows, width], of the windows of one row
        self._open: Tensor | None = None  # [K, rows, width], the sum of rows of windows from `_top` on
        self._counts = paddle.zeros([0])  # [rows], how many those are
        self._top = 0

    def add(self, window: Window, scores: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Lay a window's scores down; windows come in their order.

        Args:
            scores: float32 [K, h, w], of any size; they are resized to the window's.

        Yields:
            what no later window touches: the first row, and scores [K, rows, width].
        """
        size = [window.height, window.width]
        if list(scores.shape[1:]) != size:
            scores = resize(scores.unsqueeze(0), size)[0]
        if self._sums is None:
            self._sums = paddle.zeros([scores.shape[0], window.height, self.width])
            self._times = paddle.zeros([self.width])
        right = window.column + window.width
        self._sums[:, :, window.column : right] = self._sums[:, :, window.column : right] + scores
        self._times[window.column : right] = self._times[window.column : right] + 1.0
        if right == self.width:
            strip, self._sums = self._sums / self._times, None
            self._lay(window.row, strip)
            yield self._finish(self._ends[window.row])

    def _lay(self, row: int, strip: Tensor) -> None:
        """Add a whole row of windows to what is open; it begins in it and ends below it."""
        ones = paddle.ones([strip.shape[1]])
        if self._open is None:
            self._open, self._counts = strip, ones
            return
        above, shared = row - self._top, self._open.shape[1] - (row - self._top)
        parts = [self._open[:, :above], self._open[:, above:] + strip[:, :shared], strip[:, shared:]]
        counts = [self._counts[:above], self._counts[above:] + ones[:shared], ones[shared:]]
        self._open = paddle.concat([part for part in parts if part.shape[1]], axis=1)
        self._counts = paddle.concat([count for count in counts if count.shape[0]])

    def _finish(self, end: int) -> tuple[int, Tensor]:
        assert self._open is not None
        top, rows = self._top, end - self._top
        done = self._open[:, :rows] / self._counts[:rows].unsqueeze(-1)
        rest = self._open.shape[1] - rows
        self._open, self._counts = (self._open[:, rows:], self._counts[rows:]) if rest else (None, self._counts[:0])
        self._top = end
        return top, done


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
            pictures: names, for messages, and images; a channel that the model does not take is left out.

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
            pixels = resized_crop(picture, window.box, self.model.img_size)
            yield _Piece(name, picture.height, canvas, window, pixels[..., : self.model.in_chans])

    @paddle.no_grad()
    def _scores(self, pixels: NDArray[Any]) -> Tensor:
        with self.precision.autocast(self._weights):
            scores: Tensor = self.model(paddle.to_tensor(as_paddle_takes(pixels)))
        return scores.astype("float32")
