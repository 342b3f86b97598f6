"""The command `mae-data`: make, check and describe lists of images. Commands import what they need late."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mae_data import __version__
from mae_data.commands import run
from mae_data.errors import DataError, InputError
from mae_data.limits import available_cores, explain_limit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 wrong input, 3 faulty data."""
    for stream in (sys.stdout, sys.stderr):
        # File names may hold characters that the terminal's encoding lacks.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    if not arguments:
        parser.print_help()
        return 0
    args = parser.parse_args(arguments)
    try:
        code: int = args.run(args)
        print(end="", flush=True)
        return code
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and (failure := _output_failure()):
            if isinstance(failure, BrokenPipeError):  # the reader has seen enough, as `head` does
                return 141  # 128 + SIGPIPE, as other programs exit
            error = InputError(f"standard output cannot be written ({failure.strerror})")
        known = error if isinstance(error, DataError | InputError) else explain_limit(error)
        if args.debug or known is None:
            raise
        # Names of files may hold what would control a terminal.
        plain = "".join(c if (c >= " " and c != "\x7f") or c == "\n" else "?" for c in str(known))
        print(red(f"mae-data {args.command}: error: {plain}", sys.stderr, os.environ), file=sys.stderr)
        return known.exit_code


def _output_failure() -> OSError | None:
    """Return why standard output cannot be written, and send it to nowhere; None where it can."""
    try:
        print(flush=True)
    except OSError as failure:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        return failure
    return None


def red(line: str, stream: TextIO, env: Mapping[str, str]) -> str:
    """Return a line in red where the stream is a terminal that takes it and NO_COLOR is not set (no-color.org)."""
    takes_it = stream.isatty() and env.get("TERM", "dumb") != "dumb" and not env.get("NO_COLOR")
    return f"\x1b[31m{line}\x1b[0m" if takes_it else line


def _version_line() -> str:
    """Return the line of `--version`: the package, Paddle and what it runs on, without importing Paddle."""
    found = {}
    for package in ("paddlepaddle-gpu", "paddlepaddle"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    paddle = next((f"{package} {version}" for package, version in found.items()), "no Paddle")
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*"))) if "paddlepaddle-gpu" in found else 0
    device = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"CPU, {available_cores()} cores"
    return f"mae-data {__version__} ({paddle}, {device})"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        line = f"{self.prog}: error: {message}; see `{self.prog} --help`"
        self.exit(InputError.exit_code, red(line, sys.stderr, os.environ) + "\n")


class _Completion(argparse.Action):
    """Prints what shtab writes for a shell and ends the command, as `--version` does."""

    def __call__(self, parser: Any, namespace: Any, shell: Any, option_string: str | None = None) -> None:
        import shtab

        (commands,) = (action for action in parser._actions if action.nargs == argparse.PARSER)
        for action in (action for command in commands.choices.values() for action in command._actions):
            if action.nargs != 0 and not action.choices and action.type not in (int, float, _count, _number, _seed):
                action.complete = shtab.FILE
        print(shtab.complete(parser, shell))
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Declare the command and its subcommands."""
    parser = _Parser(prog="mae-data", description="Make, check and describe lists of images.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=_version_line())
    parser.add_argument(
        "--completion",
        choices=("bash", "zsh"),
        action=_Completion,
        help="print a script that completes this command; bash and zsh eval it",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)

    cores = available_cores()
    index = _add(commands, "index", run.index, "write train_list.txt, val_list.txt and classes.txt for a folder")
    index.add_argument("root", metavar="ROOT", type=Path, help="folder with train/ and val/, or one per class")
    index.add_argument(
        "--val-fraction", type=float, default=0.1, help="share held out where there is no train/ (default 0.1)"
    )
    index.add_argument(
        "--group-by",
        metavar="folder|patient|REGEX",
        help="keep images of a folder, of a DICOM patient, or of what matches in their paths, together in that split",
    )
    index.add_argument("--axis", type=int, default=2, help="axis of NIfTI volumes that slices lie along (default 2)")
    index.add_argument("--every", type=_count, default=1, help="one slice in so many, of volumes and DICOM series")
    index.add_argument("--seed", type=_seed, default=0, help="seed of that split (default 0)")
    index.add_argument("--unlabelled", action="store_true", help="take all images in any subfolder, without labels")
    index.add_argument("--force", action="store_true", help="replace lists that exist")
    index.add_argument("--tar", metavar="PATTERN", help="index tar shards in ROOT instead: 'train-*.tar'")
    index.add_argument("--part", choices=("train", "val"), default="train", help="what the shards are (default train)")
    index.add_argument("--workers", type=int, default=cores, help="processes that read shards (default: one per core)")

    shard = _add(commands, "shard", run.shard, "write a data set as indexed tar shards, in WebDataset's layout")
    shard.add_argument("root", metavar="ROOT", help="folder with lists, or without any")
    shard.add_argument("target", metavar="DST", type=Path, help="folder to write; a stopped run goes on where it was")
    shard.add_argument("--labelled", action="store_true", help="take class folders as labels where there are no lists")
    shard.add_argument("--per-shard", type=_count, default=1000, help="images in each shard (default 1000)")
    shard.add_argument("--side", type=_count, help="scale larger images down to this shorter side, as JPEG")
    shard.add_argument("--quality", type=int, default=95, choices=range(1, 101), metavar="Q", help="JPEG (default 95)")
    shard.add_argument("--workers", type=int, default=cores, help="number of processes (default: one per core)")
    shard.add_argument("--allow-outside", action="store_true", help="accept absolute paths and .. in the lists")
    shard.add_argument("--force", action="store_true", help="replace shards of other images")
    _add_readers(commands)
    return parser


def _add_readers(commands: "_Commands") -> None:
    """Declare the commands that read a data set and write no list of it but `subset`'s."""
    verify = _add(commands, "verify", run.verify, "read every image and report the bad ones")
    _add_lists(verify, "append", "list to check, may be repeated (default: all)")
    _add_pixels(verify, " (default: what most images hold)")
    _add_beside(
        verify,
        "check lines `image mask`, or images/ and masks/: equal sizes, known values, unused classes",
        "check lines `image 0,2` or `image 1 0 1` too",
    )
    verify.add_argument("--write-lists", action="store_true", help="write NAME_clean.txt beside lists with bad images")
    verify.add_argument("--json", metavar="REPORT", type=Path, help="write the report to this file")

    stats = _add(commands, "stats", run.stats, "describe a data set: classes, sizes, mean and std")
    _add_lists(stats, "store", "list to describe (default: train_list.txt)")
    _add_pixels(stats, " (default: what most images hold)")
    _add_beside(
        stats,
        "count the classes of masks instead: lines `image mask`, or images/ and masks/",
        "count the labels of lines `image 0,2` or `image 1 0 1` instead",
    )
    stats.add_argument("--yaml", metavar="FILE", type=Path, help="write a config file: channels, range, mean, std")
    stats.add_argument("--json", action="store_true", help="print JSON")

    subset = _add(commands, "subset", run.subset, "write a list of few images of each class, drawn from a list")
    subset.add_argument("list", metavar="LIST", type=Path, help="list with labels, such as photos/train_list.txt")
    subset.add_argument("--per-class", type=_count, required=True, metavar="N", help="images of each class")
    subset.add_argument("--seed", type=_seed, default=0, help="seed of the draw (default 0)")
    subset.add_argument("--output", metavar="FILE", type=Path, help="default: beside LIST, named after N and the seed")
    subset.add_argument("--force", action="store_true", help="replace a file that exists")

    bench = _add(commands, "bench", run.bench, "time the stages of loading, compare numbers of workers, advise")
    _add_lists(bench, "store", "list to load (default: train_list.txt)", workers=False)
    bench.add_argument("--image-size", type=int, default=224, help="side of the crops in pixels (default 224)")
    bench.add_argument(
        "--channels", type=int, choices=(1, 3), help="3 RGB, 1 greyscale (default: what most images hold)"
    )
    bench.add_argument("--decoder", choices=("exact", "fast"), default="exact", help="for JPEG files (default exact)")
    bench.add_argument("--batch-size", type=int, default=64, help="images per batch (default 64)")
    bench.add_argument("--images", type=int, default=256, help="images whose stages are timed (default 256)")
    bench.add_argument("--seconds", type=float, default=3, help="time per number of workers (default 3)")

    demo = _add(commands, "demo-dataset", run.demo_dataset, "write scikit-learn's handwritten digits as images")
    demo.add_argument("target", metavar="DST", type=Path, help="folder to write")
    demo.add_argument("--size", type=int, default=32, help="side of the pictures in pixels (default 32)")
    demo.add_argument("--seed", type=_seed, default=0, help="seed of the split (default 0)")
    demo.add_argument("--force", action="store_true", help="replace digits that exist")


_Commands = argparse._SubParsersAction  # argparse has no public name for what add_subparsers() returns


def _add(
    commands: _Commands, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)
    return parser


def _add_lists(parser: argparse.ArgumentParser, action: str, text: str, workers: bool = True) -> None:
    parser.add_argument("root", metavar="ROOT", help="folder that the lists' paths start from, or another data set")
    parser.add_argument("--list", metavar="FILE", action=action, help=text)
    if workers:
        parser.add_argument(
            "--workers", type=int, default=available_cores(), help="number of processes (default: one per core)"
        )
    parser.add_argument("--allow-outside", action="store_true", help="accept absolute paths and .. in the lists")


def _add_pixels(parser: argparse.ArgumentParser, remark: str) -> None:
    parser.add_argument("--channels", type=_count, metavar="N", help=f"3 RGB, 1 grey, or those stored{remark}")
    parser.add_argument(
        "--value-range",
        nargs="+",
        type=_number,
        metavar="VALUE",
        help=f"white of integers (255, 65535), or LOW HIGH of floats{remark}",
    )
    parser.add_argument(
        "--bands", nargs="+", metavar="BAND", help="bands that are taken, by number from 0 or by name (default: all)"
    )
    parser.add_argument(
        "--nodata", metavar="VALUE|nan|file", help="what stands for no data: a value, NaN, or what each file says"
    )


def _add_beside(parser: argparse.ArgumentParser, masks: str, labels: str) -> None:
    """Declare what may stand beside images in place of a class."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--masks", action="store_true", help=masks)
    group.add_argument("--labels", metavar="COUNT|FILE", help=f"{labels}: how many there are, or a file of their names")
    group.add_argument(
        "--numbers", metavar="COUNT|FILE", help="the same of lines `image 1.5` or `image 1.5 -2`: numbers to regress"
    )
    parser.add_argument(
        "--ignore", type=int, default=255, metavar="VALUE", help="value in masks that is no class (default 255)"
    )


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**64:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2**64 - 1")
    return seed


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1")
    return count


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
