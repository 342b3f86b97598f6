"""Scores of windows laid over their image: each pixel gets the mean of the windows on it, row by row."""

from collections.abc import Iterator, Sequence

import paddle
from paddle import Tensor

from mae_data.images.windows import Window
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
