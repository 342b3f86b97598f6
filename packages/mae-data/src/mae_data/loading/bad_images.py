"""Images that could not be used: passed over, counted over all worker processes, and named at the end."""

import logging
import mmap
import os
import shlex
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mae_data.errors import DataError
from mae_data.images.bands import Bands
from mae_data.images.value_range import ANY_FLOATS, ValueRange
from mae_data.sources.open_source import PARTS

MOST = 100
SHOWN = 20

log = logging.getLogger(__name__)


class BadImages:
    """The bad images of a list, in memory that processes forked later share.

    Args:
        total: images of the list.
        most: bad ones that are passed over; more than half of a list are too many in any case.
        verify: the command that finds them all.
    """

    def __init__(self, total: int, most: int = MOST, verify: str = "mae-data verify") -> None:
        self.total, self.most, self.verify = total, most, verify
        self._flags = mmap.mmap(-1, max(1, total))

    def __reduce__(self) -> tuple[type["BadImages"], tuple[int, int, str]]:
        return BadImages, (self.total, self.most, self.verify)

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
                f" them may be bad: MAX_BAD, max_skipped); `{self.verify}` lists them all"
            ) from error
        self._flags[index] = 1
        if not found:
            log.warning("skipped: %s; `%s` lists all such images, ON_ERROR raise ends at the first", error, self.verify)
        elif found < SHOWN:
            log.warning("skipped: %s", error)

    def lines(self, describe: Callable[[int], str]) -> Iterator[str]:
        """Yield the lines for the end of a run: how many images were skipped, and which; none where all were good.

        Args:
            describe: names an image by its place.
        """
        bad = self.indices()
        if bad:
            yield f"{len(bad)} of {self.total} images could not be used and were skipped; `{self.verify}` shows why:"
            yield from (f"  {describe(index)}" for index in bad[:SHOWN])
            if len(bad) > SHOWN:
                yield f"  ... and {len(bad) - SHOWN} more"


def verify_command(
    root: str | os.PathLike[str],
    list_file: str | os.PathLike[str] | None = None,
    allow_outside: bool = False,
    flags: Sequence[str] = (),
) -> str:
    """Return the command that reads all images of a data set; `pixel_flags` says what they must be.

    Args:
        root, list_file, allow_outside: see `open_source`; None: all lists.
        flags: more of its flags.
    """
    is_usual = list_file is None or os.fspath(list_file) in PARTS
    chosen = [] if is_usual else ["--list", os.fspath(list_file or "")]
    return shlex.join(["mae-data", "verify", os.fspath(root), *chosen, *["--allow-outside"] * allow_outside, *flags])


def pixel_flags(
    channels: int, limits: ValueRange, bands: Bands | None = None, nodata: float | str | None = None
) -> str:
    """Return the flags of `mae-data verify` for what a data set asks of its images, each after a space."""
    if limits == ANY_FLOATS:  # asks nothing that a flag could say
        return ""
    numbers = [limits.low, limits.high] if limits.is_float else [int(limits.high)]
    words = ["--channels", channels, "--value-range", *numbers]
    words += [] if bands is None else ["--bands", *bands]
    words += [] if nodata is None else ["--nodata", nodata]
    return " " + shlex.join(map(str, words))
