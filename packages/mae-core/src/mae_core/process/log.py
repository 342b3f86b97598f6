"""What a run shows people: lines, and a bar on a terminal. `run_log` is for programs."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from mae_core.process import stdio

LOGGER = logging.getLogger("mae")
_stream = "stdout"


def use_stderr(use: bool = True) -> None:
    """Send lines to standard error, because standard output is for data, until the next command begins."""
    global _stream
    _stream = "stderr" if use else "stdout"


def setup(main: bool = True) -> logging.Logger:
    """Send lines to standard output; ranks other than the main one send warnings alone."""
    handler = _BarSafeHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.getLogger().handlers[:] = [handler]  # the root: warnings of the data path are shown too
    LOGGER.setLevel(logging.INFO if main else logging.WARNING)
    return LOGGER


@contextmanager
def silence() -> Iterator[None]:
    """Log nothing but errors meanwhile: of a run that is tried, which the run itself will say again."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def log_lines(lines: Iterable[str]) -> None:
    """Log lines, of the main rank."""
    for line in lines:
        LOGGER.info(line)


class _BarSafeHandler(logging.Handler):
    """Prints above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        stream, before = getattr(sys, _stream), stdio.why_lost()
        with tqdm.external_write_mode(file=stream):
            stdio.print_line(self.format(record), stream)
        if stdio.why_lost() != before:
            stdio.print_line(f"standard output cannot be written ({stdio.why_lost()}); the run goes on", sys.stderr)


def progress_bar(total: int, start: int) -> tqdm:
    """Make a bar over optimizer steps; off where standard error is not a terminal."""
    return tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty())
