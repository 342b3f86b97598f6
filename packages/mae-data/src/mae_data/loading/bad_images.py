"""Images that could not be used: passed over, counted over all worker processes, and named at the end."""

import logging
import mmap
from collections.abc import Callable, Iterator

import numpy as np

from mae_data.errors import DataError

MOST = 100
SHOWN = 20

log = logging.getLogger(__name__)


class BadImages:
    """The bad images of a list, in memory that processes forked later share.

    Args:
        total: images of the list.
        most: bad ones that are passed over; more than half of a list are too many in any case.
    """

    def __init__(self, total: int, most: int = MOST) -> None:
        self.total, self.most = total, most
        self._flags = mmap.mmap(-1, max(1, total))

    def __reduce__(self) -> tuple[type["BadImages"], tuple[int, int]]:
        return BadImages, (self.total, self.most)

    @property
    def limit(self) -> int:
        """How many may be bad."""
        return min(self.most, self.total // 2)

    def indices(self) -> list[int]:
        """Return the places of the bad images."""
        return np.flatnonzero(np.frombuffer(self._flags, np.uint8)).tolist()

    def add(self, index: int, error: DataError) -> None:
        """Count an image, and log it, once.

        Raises:
            DataError: there are too many.
        """
        if self._flags[index]:
            return
        found = len(self.indices())
        if found >= self.limit:
            raise DataError(
                f"{error} (and {found} images were skipped before it, of {self.total}; at most {self.most} and half of"
                " them may be bad: MAX_BAD, max_skipped); `mae-data verify` lists them all"
            ) from error
        self._flags[index] = 1
        if not found:
            log.warning("skipped: %s; `mae-data verify` lists all such images, ON_ERROR raise ends at the first", error)
        elif found < SHOWN:
            log.warning("skipped: %s", error)

    def lines(self, describe: Callable[[int], str]) -> Iterator[str]:
        """Yield the lines for the end of a run: how many images were skipped, and which; none where all were good.

        Args:
            describe: names an image by its place.
        """
        bad = self.indices()
        if bad:
            yield f"{len(bad)} of {self.total} images could not be used and were skipped; `mae-data verify` shows why:"
            yield from (f"  {describe(index)}" for index in bad[:SHOWN])
            if len(bad) > SHOWN:
                yield f"  ... and {len(bad) - SHOWN} more"
