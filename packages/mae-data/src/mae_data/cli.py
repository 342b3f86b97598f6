"""The command `mae-data`: make, check and describe lists of images. Commands import what they need late."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mae_data import __version__
from mae_data.errors import DataError, InputError

if TYPE_CHECKING:
    from mae_data.sources.source import Source
    from mae_data.value_range import ValueRange

SHOWN = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 wrong input, 3 faulty data."""
    for stream in (sys.stdout, sys.stderr):
        # File names may hold characters that the terminal's encoding lacks.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _build_parser()
    if not arguments:
        parser.print_help()
        return 0
    args = parser.parse_args(arguments)
    try:
        code: int = args.run(args)
        return code
    except (DataError, InputError) as error:
        if args.debug:
            raise
        print(_red(f"mae-data {args.command}: error: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"mae-data {args.command}: interrupted", file=sys.stderr)
        return 130


def _red(line: str) -> str:
    """Colour an error where the terminal takes it and NO_COLOR is not set (no-color.org)."""
    takes_it = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")
    return f"\x1b[31m{line}\x1b[0m" if takes_it else line


def _version_line() -> str:
    """Return what `--version` says: the package, Paddle and what it runs on, without importing Paddle."""
    found = {}
    for package in ("paddlepaddle-gpu", "paddlepaddle"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    paddle = next((f"{package} {version}" for package, version in found.items()), "no Paddle")
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*"))) if "paddlepaddle-gpu" in found else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    device = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"CPU, {cores} cores"
    return f"mae-data {__version__} ({paddle}, {device})"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(InputError.exit_code, _red(f"{self.prog}: error: {message}; see `{self.prog} --help`") + "\n")


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mae-data", description="Make, check and describe lists of images.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=_version_line())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    index = _add(commands, "index", _index, "write train_list.txt, val_list.txt and classes.txt for a folder")
    index.add_argument("root", metavar="ROOT", type=Path, help="folder with train/ and val/, or one per class")
    index.add_argument(
        "--val-fraction",
        type=float,
        default=0.1,
        help="share held out where there is no train/ (default 0.1)",
    )
    index.add_argument("--seed", type=_seed, default=0, help="seed of that split (default 0)")
    index.add_argument("--unlabelled", action="store_true", help="take all images in any subfolder, without labels")
    index.add_argument("--force", action="store_true", help="replace lists that exist")

    index.add_argument("--tar", metavar="PATTERN", help="index tar shards in ROOT instead: 'train-*.tar'")
    index.add_argument("--part", choices=("train", "val"), default="train", help="what the shards are (default train)")
    index.add_argument("--workers", type=int, help="number of processes that read shards (default: one per core)")

    shard = _add(commands, "shard", _shard, "write a data set as tar shards with an index, in WebDataset's layout")
    shard.add_argument("root", metavar="ROOT", help="folder with lists, or without any")
    shard.add_argument("target", metavar="DST", type=Path, help="folder to write; a stopped run goes on where it was")
    shard.add_argument("--labelled", action="store_true", help="take class folders as labels where there are no lists")
    shard.add_argument("--per-shard", type=_count, default=1000, help="images in each shard (default 1000)")
    shard.add_argument("--side", type=_count, help="scale larger images down to this shorter side, as JPEG")
    shard.add_argument("--quality", type=int, default=95, choices=range(1, 101), metavar="Q", help="JPEG (default 95)")
    shard.add_argument("--workers", type=int, help="number of processes (default: one per core)")
    shard.add_argument("--allow-outside", action="store_true", help="accept absolute paths and .. in the lists")
    shard.add_argument("--force", action="store_true", help="replace shards of other images")

    verify = _add(commands, "verify", _verify, "read every image and report the bad ones")
    _add_lists(verify, "append", "list to check, may be repeated (default: all)")
    _add_pixels(verify, "; then images that contradict are bad, too")
    verify.add_argument("--json", metavar="REPORT", type=Path, help="write the report to this file")

    stats = _add(commands, "stats", _stats, "describe a data set: classes, sizes, mean and std")
    _add_lists(stats, "store", "list to describe (default: train_list.txt)")
    _add_pixels(stats, " (default: what the first image holds)")
    stats.add_argument("--yaml", metavar="FILE", type=Path, help="write a config file: channels, range, mean, std")
    stats.add_argument("--json", action="store_true", help="print JSON")

    subset = _add(commands, "subset", _subset, "write a list of few images of each class, drawn from a list")
    subset.add_argument("list", metavar="LIST", type=Path, help="list with labels, such as photos/train_list.txt")
    subset.add_argument("--per-class", type=_count, required=True, metavar="N", help="images of each class")
    subset.add_argument("--seed", type=_seed, default=0, help="seed of the draw (default 0)")
    subset.add_argument("--output", metavar="FILE", type=Path, help="default: beside LIST, named after N and the seed")
    subset.add_argument("--force", action="store_true", help="replace a file that exists")

    bench = _add(commands, "bench", _bench, "time the stages of loading, compare numbers of workers, say what to set")
    _add_lists(bench, "store", "list to load (default: train_list.txt)", workers=False)
    bench.add_argument("--image-size", type=int, default=224, help="side of the crops in pixels (default 224)")
    bench.add_argument("--channels", type=int, choices=(1, 3), default=3, help="3 RGB, 1 greyscale (default 3)")
    bench.add_argument("--decoder", choices=("exact", "fast"), default="exact", help="for JPEG files (default exact)")
    bench.add_argument("--batch-size", type=int, default=64, help="images per batch (default 64)")
    bench.add_argument("--images", type=int, default=256, help="images whose stages are timed (default 256)")
    bench.add_argument("--seconds", type=float, default=3, help="time per number of workers (default 3)")

    demo = _add(commands, "demo-dataset", _demo_dataset, "write scikit-learn's handwritten digits as images")
    demo.add_argument("target", metavar="DST", type=Path, help="folder to write")
    demo.add_argument("--size", type=int, default=32, help="side of the pictures in pixels (default 32)")
    demo.add_argument("--seed", type=_seed, default=0, help="seed of the split (default 0)")
    demo.add_argument("--force", action="store_true", help="replace digits that exist")
    return parser


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
        parser.add_argument("--workers", type=int, help="number of processes (default: one per core)")
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


def _value_range(args: argparse.Namespace) -> "ValueRange | None":
    from mae_data.value_range import as_value_range

    if args.value_range is None:
        return None
    try:
        return as_value_range(args.value_range[0] if len(args.value_range) == 1 else args.value_range)
    except ValueError as error:
        raise InputError(str(error)) from None


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


def _index(args: argparse.Namespace) -> int:
    if args.tar:
        return _index_tar(args)
    from mae_data.folder_index import index_folder
    from mae_data.sources.folder_scan import describe_left_out

    index = index_folder(args.root, args.val_fraction, args.seed, labelled=False if args.unlabelled else None)
    names = index.write(args.root, args.force)
    held_out = f", {len(index.val)} for validation" if index.val is not None else ""
    if index.classes:
        labels = f"{len(index.classes)} classes"
    else:
        labels = "no labels (not asked for)" if args.unlabelled else "no labels (no class folders)"
    print(f"{args.root}: {len(index.train)} images for training{held_out}, {labels}; wrote {', '.join(names)}")
    if left_out := describe_left_out(index.left_out):
        print(left_out + ("" if args.unlabelled else "; --unlabelled takes images of any subfolder"))
    return 0


def _index_tar(args: argparse.Namespace) -> int:
    from mae_data.sources.shards import INDEX_ENDING
    from mae_data.sources.tar_index import write_tar_index

    index = args.root / f"{args.part}{INDEX_ENDING}"
    shards = sorted(path.name for path in args.root.glob(args.tar) if path.is_file())
    if not shards:
        raise DataError(f"{args.root} has no file {args.tar}")
    if index.exists() and not args.force:
        raise InputError(f"{index} is there already; use --force to replace it")
    images = write_tar_index(args.root, shards, index, _workers(args))
    print(f"{index}: {images} images in {len(shards)} shards")
    return 0


def _shard(args: argparse.Namespace) -> int:
    from mae_data.sources.open_source import open_parts
    from mae_data.sources.shard_writer import Plan, copy_classes, write_shards

    sources = open_parts(args.root, labelled=args.labelled, allow_outside=args.allow_outside, opt_in="--allow-outside")
    plan = Plan(args.per_shard, args.side, args.quality)
    for part, source in sources.items():
        for note in source.notes:
            print(note)
        shards, found = write_shards(
            source, args.target, part, plan, workers=_workers(args), force=args.force, progress=_show_progress
        )
        kept = f", {found} of them were there" if found else ""
        print(f"{args.target / part}.index: {len(source)} images in {shards} shards{kept}")
    copy_classes(args.root, args.target)
    return 0


def _show_progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {of} shards", end="" if done < of else "\n", file=sys.stderr, flush=True)


def _verify(args: argparse.Namespace) -> int:
    from mae_data.verify import verify_lists
    from mae_data.whole_file import write_atomically

    report = verify_lists(_open(args, args.list), _workers(args), args.channels, _value_range(args))
    for bad in report.bad[:SHOWN]:
        print(f"bad: {bad.list}:{bad.line} ({bad.path}): {bad.reason}")
    for duplicate in report.duplicates[:SHOWN]:
        print(f"duplicate: {duplicate.list}:{duplicate.line} ({duplicate.path}), first in {duplicate.first}")
    total = sum(report.images.values())
    print(f"{total} images checked, {len(report.bad)} bad, {len(report.duplicates)} duplicates")
    if args.json:
        write_atomically(args.json, (json.dumps(report.as_json(args.root), indent=2) + "\n").encode())
    elif len(report.bad) > SHOWN or len(report.duplicates) > SHOWN:
        print(f"the first {SHOWN} of each are shown; --json REPORT writes them all")
    return DataError.exit_code if report.bad else 0


def _stats(args: argparse.Namespace) -> int:
    from mae_data.stats import describe_list

    images = _open(args, [args.list] if args.list else None)[0]
    stats = describe_list(images, channels=args.channels, value_range=_value_range(args), workers=_workers(args))
    if args.yaml:
        from mae_data.stats_file import write_stats

        write_stats(args.yaml, stats)
    if args.json:
        print(json.dumps(stats, indent=2))
        return 0
    for name, value in stats.items():
        print(f"{name.replace('_', ' '):17} {_as_text(value)}")
    if args.yaml:
        print(f"wrote {args.yaml}")
    return 0


def _bench(args: argparse.Namespace) -> int:
    from mae_data.bench import measure_stages, measure_workers, report
    from mae_data.dataset import ListDataset
    from mae_data.transforms import make_pretrain_transform

    for name in ("image_size", "batch_size", "images", "seconds"):
        if getattr(args, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)} is not positive")
    list_file = args.list or "train_list.txt"
    options = {
        "channels": args.channels,
        "decoder": args.decoder,
        "allow_outside": args.allow_outside,
        "opt_in": "--allow-outside",
    }
    transform = make_pretrain_transform(image_size=args.image_size)
    dataset = ListDataset(args.root, list_file, transform, labels="optional", **options)
    rates = measure_workers(dataset, args.batch_size, args.seconds)  # forks, so before Paddle is at work here
    chosen = range(0, len(dataset), max(1, len(dataset) // args.images))[: args.images]
    for line in report(measure_stages(dataset, chosen, args.batch_size), rates, dataset):
        print(line)
    return 0


def _subset(args: argparse.Namespace) -> int:
    from mae_data.subset import subset_of_list

    path, short = subset_of_list(args.list, args.per_class, args.seed, args.output, args.force)
    images = len(path.read_bytes().splitlines())
    print(f"{path}: {images} images, {args.per_class} of each class, drawn with seed {args.seed}")
    if short:
        listed = ", ".join(f"{label} ({count})" for label, count in list(short.items())[:SHOWN])
        print(f"all images of classes that have fewer: {listed}{', ...' if len(short) > SHOWN else ''}")
    return 0


def _demo_dataset(args: argparse.Namespace) -> int:
    from mae_data.demo_digits import make_demo_dataset

    counts = make_demo_dataset(args.target, size=args.size, seed=args.seed, force=args.force)
    print(
        f"{args.target}: {counts['train']} digits for training, {counts['val']} for validation, "
        f"8x8 scans upscaled to {args.size}x{args.size}"
    )
    return 0


def _open(args: argparse.Namespace, lists: list[str] | None) -> "list[Source]":
    """Open the named lists, or all parts that a data set has."""
    from PIL import Image

    from mae_data.sources.open_source import open_parts, open_source

    # Large images are refused by name; Pillow's warning about them would only repeat it.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    classes = Path(args.root) / "classes.txt"
    num_classes = len(classes.read_bytes().splitlines()) or None if classes.exists() else None
    options = {"num_classes": num_classes, "allow_outside": args.allow_outside, "opt_in": "--allow-outside"}
    if lists:
        return [open_source(args.root, name, labels="optional", **options) for name in lists]
    return list(open_parts(args.root, **options).values())


def _workers(args: argparse.Namespace) -> int:
    from mae_data.parallel import default_workers

    return default_workers() if args.workers is None else args.workers


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in value.items())
    if isinstance(value, list):
        return " ".join(str(n) if isinstance(n, int) else f"{n:.6f}" for n in value)
    return "-" if value is None else str(value)
