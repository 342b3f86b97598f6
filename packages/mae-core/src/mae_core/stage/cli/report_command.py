"""`report RUN` of any stage: the flags, what other runs are compared, and the file."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mae_core.errors import UserError
from mae_core.files import refuse_unwritable, try_folder, write_output
from mae_core.process.command_line import Flag, Parser, add_flags
from mae_core.report.page import Page, render, template_environment
from mae_core.report.run_files import read_run
from mae_core.stage.cli.flags import add_address


@dataclass(frozen=True)
class Compared:
    """A figure of another experiment: its name, its value in percent and where it is from."""

    name: str
    value: float
    source: str


def add_run(parser: Parser) -> None:
    """Declare the run of a report, and where its page goes."""
    add_flags(parser, (Flag("output", None, "HTML file to write (default RUN/report.html)"),))
    parser.add_argument("run", help="run folder")


def add_watch(parser: Parser, start: Callable[[Namespace], None]) -> Parser:
    """Declare `watch RUN`; return it, for what a stage adds."""
    watch = parser.add_command("watch", start, "serve the report of a run, made anew while it goes on")
    add_address(watch)
    watch.add_argument("run", help="run folder")
    return watch


def add_count(parser: Parser, what: str, default: int) -> None:
    """Declare how many images a page shows."""
    note = f"{what} (default {default}; 0: none, and no model is loaded)"
    parser.add_argument("--images", type=int, default=default, metavar="N", help=note)


def add_compare(parser: Parser) -> None:
    """Declare what other runs' figures are shown."""
    what = "another run's accuracy beside this one's: a name and a run folder or a number of percent; may be repeated"
    parser.add_argument("--compare", action="append", default=[], metavar="NAME=RUN|PERCENT", help=what)


def read_compared(word: str) -> Compared:
    """Read `NAME=RUN|PERCENT`; a run counts with its -eval, or with its last validation.

    Raises:
        UserError: neither a number nor a run with an accuracy.
    """
    name, _, source = word.partition("=")
    if not name or not source:
        raise UserError(f"--compare {word} is not NAME=RUN or NAME=PERCENT")
    try:
        return Compared(name, float(source), "given by hand")
    except ValueError:
        run = read_run(source)
    scores = run.scores or (run.validation[-1] if run.validation else {})
    if "top1" not in scores:
        raise UserError(f"--compare {word}: {source} has no accuracy yet; score it with -eval")
    return Compared(name, float(scores["top1"]), f"run {source}")


def prepare_page(run: str, output: str | None) -> Path:
    """Return where the page goes; refuse now, rather than after the work, what cannot be written or read.

    Raises:
        UserError: the file cannot be written, there is no run, or a library is not installed.
    """
    template_environment()
    read_run(run)
    path = Path(output or f"{run}/report.html")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name an HTML file with -output")
    with refuse_unwritable(path):
        try_folder(path.parent)
    return path


def write_page(page: Page, path: Path) -> Path:
    """Write the page, whole or not at all."""
    html = render(page).encode("utf-8", "replace")
    with refuse_unwritable(path):
        write_output(path, html)
    return path
