"""What the commands of `mae-data` do with their arguments; each returns its exit code."""

import argparse
import json
import sys
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING

from mae_data.errors import DataError, InputError
from mae_data.files import write_atomically

if TYPE_CHECKING:
    from mae_data.commands.masks import MaskReport
    from mae_data.commands.targets import TargetReport
    from mae_data.images.bands import Bands
    from mae_data.images.value_range import ValueRange
    from mae_data.sources.source import Source, Targets

SHOWN = 20  # bad images and duplicates that are printed
OPT_IN = "--allow-outside"


def index(args: argparse.Namespace) -> int:
    """Write the lists of a folder."""
    if args.tar:
        return index_tar(args)
    from mae_data.sources.folders.file_slices import Slicing, may_be_sliced, shortened
    from mae_data.sources.folders.folder_index import index_folder
    from mae_data.sources.folders.folder_scan import describe_left_out

    labelled = False if args.unlabelled else None
    slicing = Slicing(args.axis, args.every)
    index = index_folder(args.root, args.val_fraction, args.seed, labelled, args.group_by, slicing)
    if args.group_by and not index.split:
        print("--group-by has nothing to do: only class folders without train/ are split here")
    if slicing != Slicing() and not any(may_be_sliced(path) for path, _ in index.train):
        print("--axis and --every have nothing to do: there are no volumes, frames or DICOM files")
    names = index.write(args.root, args.force)
    held_out = f", {len(index.val)} for validation" if index.val is not None else ""
    if index.classes:
        labels = f"{len(index.classes)} classes"
    else:
        labels = "no labels (not asked for)" if args.unlabelled else "no labels (no class folders)"
    print(f"{args.root}: {len(index.train)} images for training{held_out}, {labels}; wrote {', '.join(names)}")
    if (index.val or (index.split and args.val_fraction)) and (unscored := index.unscored()):
        advice = "add images, or raise --val-fraction" if index.split else "add some to val/"
        counted = f"{len(unscored)} of {len(index.classes)} classes"
        print(f"{counted} have no image to be scored: {shortened(unscored)}; {advice}")
    if left_out := describe_left_out(index.left_out):
        print(left_out + ("" if args.unlabelled else "; --unlabelled takes images of any subfolder"))
    return 0


def index_tar(args: argparse.Namespace) -> int:
    """Write the index of existing tar shards."""
    from mae_data.sources.shards import INDEX_ENDING
    from mae_data.sources.tar_index import write_tar_index

    index = args.root / f"{args.part}{INDEX_ENDING}"
    shards = sorted(path.name for path in args.root.glob(args.tar) if path.is_file())
    if not shards:
        raise DataError(f"{args.root} has no file {args.tar}")
    if index.exists() and not args.force:
        raise InputError(f"{index} is there already; use --force to replace it")
    images = write_tar_index(args.root, shards, index, args.workers)
    print(f"{index}: {images} images in {len(shards)} shards")
    return 0


def shard(args: argparse.Namespace) -> int:
    """Write a data set as tar shards."""
    from mae_data.sources.open_source import open_parts
    from mae_data.sources.shard_writer import ShardOptions, copy_classes, write_shards

    sources = open_parts(args.root, labelled=args.labelled, allow_outside=args.allow_outside, opt_in=OPT_IN)
    options = ShardOptions(args.per_shard, args.side, args.quality)
    for part, source in sources.items():
        for note in source.notes:
            print(note)
        shards, found = write_shards(
            source, args.target, part, options, workers=args.workers, force=args.force, progress=_show_progress
        )
        kept = f", {found} of them were there" if found else ""
        print(f"{args.target / part}.index: {len(source)} images in {shards} shards{kept}")
    copy_classes(args.root, args.target)
    return 0


def _show_progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {of} shards", end="" if done < of else "\n", file=sys.stderr, flush=True)


def verify(args: argparse.Namespace) -> int:
    """Read every image and report the bad ones."""
    if args.masks:
        return _verify_masks(args)
    from mae_data.commands.verify import require_lists, verify_lists, write_clean_lists

    bands, limits, nodata = _parse_values(args)
    targets, described = _open_targets(args, args.list)
    if targets and args.write_lists:
        raise InputError("--write-lists is for lists of one class an image; leave out --labels and --numbers")
    lists = [each.images for each in targets] or _open(args, args.list)
    clean = require_lists(lists) if args.write_lists else []
    report = verify_lists(lists, args.workers, args.channels, limits, bands, nodata)
    print("\n".join([*report.lines(SHOWN), *(line for each in described for line in each.remarks())]))
    for name, images in write_clean_lists(clean, report.bad).items():
        print(f"{name}: {images} images, the bad ones left out")
    if args.json:
        write_atomically(args.json, report.to_json(args.root).encode())
    elif len(report.bad) > SHOWN or len(report.duplicates) > SHOWN:
        print(f"the first {SHOWN} of each are shown; --json REPORT writes them all")
    return DataError.exit_code if report.bad else 0


def stats(args: argparse.Namespace) -> int:
    """Describe the images of a list."""
    if args.masks:
        return _describe_masks(args)
    if args.labels or args.numbers:
        return _describe_targets(args)
    from mae_data.commands.stats import describe_list, write_stats
    from mae_data.loading.bad_images import verify_command

    bands, limits, nodata = _parse_values(args)
    images = _open(args, [args.list] if args.list else None)[0]
    stats = describe_list(
        images,
        channels=args.channels,
        value_range=limits,
        bands=bands,
        nodata=nodata,
        workers=args.workers,
        verify=verify_command(args.root, args.list, args.allow_outside),
    )
    if args.yaml:
        write_stats(args.yaml, stats)
    if args.json:
        print(json.dumps(asdict(stats), indent=2))
        return 0
    print("\n".join(stats.table()))
    if args.yaml:
        print(f"wrote {args.yaml}")
    return 0


def _describe_targets(args: argparse.Namespace) -> int:
    from mae_data.commands.targets import targets_json

    if args.yaml:
        raise InputError("--yaml is for what the pixels hold; leave out --labels and --numbers")
    _, reports = _open_targets(args, [args.list] if args.list else None)
    print(targets_json(reports) if args.json else "\n".join(line for each in reports for line in each.table()))
    return 0


def _open_targets(args: argparse.Namespace, lists: list[str] | None) -> "tuple[list[Targets], list[TargetReport]]":
    """Open and describe lists of labels or numbers; none where the lists are of neither."""
    from mae_data.commands.targets import describe_targets, open_target_lists, parse_names

    word, labels = args.labels or args.numbers, bool(args.labels)
    if not word:
        return [], []
    names = parse_names(word, args.root, "label" if labels else "number")
    targets = open_target_lists(args.root, lists, names, labels=labels, allow_outside=args.allow_outside, opt_in=OPT_IN)
    return targets, [describe_targets(each, names, labels=labels) for each in targets]


def _verify_masks(args: argparse.Namespace) -> int:
    from mae_data.commands.masks import masks_json, require_none

    require_none(write_lists=args.write_lists)
    reports = _survey_masks(args, args.list)
    for report in reports:
        print("\n".join(report.verdict()))
    if args.json:
        write_atomically(args.json, masks_json(reports).encode())
    return DataError.exit_code if any(report.bad for report in reports) else 0


def _describe_masks(args: argparse.Namespace) -> int:
    from mae_data.commands.masks import masks_json, require_none

    require_none(yaml=args.yaml)
    reports = _survey_masks(args, [args.list] if args.list else None)
    for fault in (fault for report in reports for fault in report.bad):
        raise DataError(f"{fault}; `mae-data verify --masks` finds all such pairs")
    print(masks_json(reports) if args.json else "\n".join(line for report in reports for line in report.table()))
    return 0


def _survey_masks(args: argparse.Namespace, lists: list[str] | None) -> "list[MaskReport]":
    from mae_data.commands.masks import open_masks, survey_masks

    bands, limits, nodata = _parse_values(args)
    datasets = open_masks(
        args.root,
        lists,
        ignore=args.ignore,
        limits=limits,
        allow_outside=args.allow_outside,
        opt_in=OPT_IN,
        channels=len(bands) if bands else args.channels or 3,
        bands=bands,
        nodata=nodata,
    )
    return [survey_masks(name, dataset, args.workers) for name, dataset in datasets.items()]


def bench(args: argparse.Namespace) -> int:
    """Time loading and print what to set."""
    from mae_data.commands.bench import measure_stages, measure_workers, report
    from mae_data.images.value_range import range_of_type
    from mae_data.loading.bad_images import verify_command
    from mae_data.loading.dataset import ListDataset
    from mae_data.loading.usual_kind import usual_kind
    from mae_data.transforms.pipelines import make_pretrain_transform

    for name in ("image_size", "batch_size", "images", "seconds"):
        if getattr(args, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)} is not positive")
    usual = usual_kind(_open(args, [args.list or "train_list.txt"])[0], verify_command(args.root, args.list))
    dataset = ListDataset(
        args.root,
        args.list or "train_list.txt",
        make_pretrain_transform(image_size=args.image_size),
        channels=args.channels or usual.channels,
        value_range=range_of_type(usual.dtype),
        decoder=args.decoder,
        labels="optional",
        on_error="skip",
        allow_outside=args.allow_outside,
        opt_in=OPT_IN,
    )
    rates = measure_workers(dataset, args.batch_size, args.seconds)  # forks, so before Paddle is at work here
    chosen = range(0, len(dataset), max(1, len(dataset) // args.images))[: args.images]
    for line in report(measure_stages(dataset, chosen, args.batch_size), rates, dataset):
        print(line)
    return 0


def subset(args: argparse.Namespace) -> int:
    """Write a list of few images of each class."""
    from mae_data.commands.subset import subset_of_list

    path, short = subset_of_list(args.list, args.per_class, args.seed, args.output, args.force)
    images = len(path.read_bytes().splitlines())
    print(f"{path}: {images} images, {args.per_class} of each class, drawn with seed {args.seed}")
    if short:
        listed = ", ".join(f"{label} ({count})" for label, count in list(short.items())[:SHOWN])
        print(f"all images of classes that have fewer: {listed}{', ...' if len(short) > SHOWN else ''}")
    return 0


def demo_dataset(args: argparse.Namespace) -> int:
    """Write scikit-learn's digits as images."""
    from mae_data.commands.demo_digits import make_demo_dataset

    counts = make_demo_dataset(args.target, size=args.size, seed=args.seed, force=args.force)
    print(
        f"{args.target}: {counts['train']} digits for training, {counts['val']} for validation, "
        f"8x8 scans upscaled to {args.size}x{args.size}"
    )
    return 0


def _open(args: argparse.Namespace, lists: list[str] | None) -> "list[Source]":
    """Open the named lists, or all parts that a data set has."""
    from PIL import Image

    from mae_data.sources.list_file import read_classes
    from mae_data.sources.open_source import open_parts, open_source

    # Large images are refused by name; Pillow's warning about them would only repeat it.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    num_classes, allowed = len(read_classes(args.root)) or None, args.allow_outside
    if not lists:
        parts = open_parts(args.root, num_classes=num_classes, allow_outside=allowed, opt_in=OPT_IN)
        return list(parts.values())
    return [
        open_source(args.root, name, labels="optional", num_classes=num_classes, allow_outside=allowed, opt_in=OPT_IN)
        for name in lists
    ]


def _parse_values(args: argparse.Namespace) -> "tuple[Bands | None, ValueRange | None, float | str | None]":
    """Return the bands, the value range and what stands for no data, as they were given."""
    from mae_data.images.bands import parse_bands
    from mae_data.images.nodata import parse_nodata
    from mae_data.images.value_range import parse_value_range

    return parse_bands(args.bands), parse_value_range(args.value_range), parse_nodata(args.nodata)
