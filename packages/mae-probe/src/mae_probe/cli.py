"""`mae-probe`: train or score a linear probe (no subcommand), and the subcommands. Help does not import Paddle."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from mae_core.errors import UserError
from mae_core.process.command_line import Flag, Parser, add_flags, flag_pairs, run
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.command import stage_parser
from mae_core.stage.cli.flags import (
    STAGE_FLAGS,
    add_bands,
    add_images,
    add_json,
    add_pairs,
    add_windows,
    require_overlap,
    split_pairs,
)
from mae_core.stage.cli.report_command import add_compare, add_count, add_run, prepare_page, write_page
from mae_core.stage.run.system_limits import explain
from mae_probe import __version__

if TYPE_CHECKING:
    from mae_core.stage.config.from_weights import Opened
    from mae_core.stage.config.node import Config
    from mae_probe.extraction.pooling import Part

DESCRIPTION = "Train a linear classifier on the frozen features of a masked autoencoder (arXiv 2111.06377)."
SUFFIXES = (".npz", ".safetensors", ".csv", ".parquet")  # of feature files
POOLS = ("class", "mean", "grid2", "grid4")  # the names in mae_probe.extraction.pooling.POOLS, which need Paddle
_ENCODING = ("cfg", "dataset", "data_path", "batch_size", "image_size", "pretrained", "amp")
RANDOM_INIT_FLAG = Flag("random_init", "MODEL.RANDOM_INIT", "random weights: what training has to beat", switch=True)
NO_CACHE_FLAG = Flag("no_cache", "NO_CACHE", "encode anew; read and keep no features in features/", switch=True)
OWN_FLAGS = (RANDOM_INIT_FLAG, NO_CACHE_FLAG)
ENCODING_FLAGS = (*(flag for flag in STAGE_FLAGS if flag.name in _ENCODING), *OWN_FLAGS)
MODEL_FLAGS = tuple(flag for flag in STAGE_FLAGS if flag.name in ("cfg", "image_size", "pretrained"))
_WHITEN = (
    "centre the features and scale their principal directions to one variance, as the training images have them; raw"
    " pixels stay as they are"
)
_POOL = (
    "class token, mean of the patch tokens, or means of 2 x 2 or 4 x 4 parts of the image, side by side (default: by"
    " MODEL.GLOBAL_POOL); several, as in --pool class mean, take one pass over the images"
)

_BLOCK_NUMBER = re.compile(r"-?\d+|all")
_BLOCK = "tokens of the block of this number from 0, or from the end if negative (default -1), behind the last norm"
_HEAD = (
    "knn: the nearest training patches vote (arXiv 2306.01667); linear: one layer is trained, as DINOv3 does (default"
    " knn). For both, images are resized whole to the model's size"
)
_TOKENS = "write the patch tokens themselves, float16 [N, L, D] with their grid (.npz or .safetensors)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda words: make_parser().start(_split_choices(words)), argv, explain)


def _split_choices(words: list[str]) -> list[str]:
    """Turn `--pool A B` into `--pool A --pool B`: argparse would take KEY VALUE words behind it for pools too."""
    split: list[str] = []
    for word in words:
        flag = split[-2] if len(split) > 1 else ""
        again = (flag == "--pool" and word in POOLS) or (flag == "--block" and _BLOCK_NUMBER.fullmatch(word))
        split += [flag, word] if again else [word]
    return split


def make_parser() -> Parser:
    """Declare the command and its subcommands."""
    parser = stage_parser("mae_probe", DESCRIPTION, __version__, OWN_FLAGS)

    features = parser.add_command("features", _features, "write the features of a list's images, with paths and labels")
    add_flags(features, ENCODING_FLAGS)
    add_flags(features, (Flag("output", None, f"file to write: {', '.join(SUFFIXES)} (default features.npz)"),))
    features.add_argument("--list", help="list file below -data_path (default DATA.VAL_LIST); labels may be missing")
    features.add_argument("--tokens", action="store_true", help=_TOKENS)
    _add_pool(features)
    add_windows(features)
    add_pairs(features, "MODEL.GLOBAL_POOL True")

    knn = parser.add_command("knn", _knn, "classify by the nearest training images: cosine, votes exp(cosine / 0.07)")
    _add_two_lists(knn)
    knn.add_argument("--k", type=int, action="append", help="neighbours; may be repeated (default 10, 20, 100, 200)")
    knn.add_argument("--whiten", action="store_true", help=_WHITEN)

    logistic = parser.add_command("logistic", _logistic, "classify by logistic regression on features (scikit-learn)")
    _add_two_lists(logistic)
    logistic.add_argument("--C", type=float, default=1.0, help="inverse strength of the penalty (default 1)")

    segment = parser.add_command("segment", _segment, "segment by frozen patches, beside random init and raw pixels")
    add_flags(segment, ENCODING_FLAGS)
    add_flags(segment, (Flag("output", None, "PNG file for image, truth, prediction and mistakes of six images"),))
    _add_segmentation(segment)
    add_json(segment)
    add_pairs(segment, "DATA.IMAGE_SIZE 224")

    attention = parser.add_command("attention", _attention, "draw what the class token attends to, head by head")
    add_flags(attention, MODEL_FLAGS)
    add_flags(attention, (Flag("output", None, "folder for the PNG files (default attention)"),))
    add_bands(attention)
    add_images(attention, "image", "image files")

    report = parser.add_command("report", _report, "write what a run did as one HTML file that needs nothing beside it")
    add_run(report)
    add_compare(report)
    add_count(report, "attention maps of so many validation images", 3)
    return parser


def _add_segmentation(parser: Parser) -> None:
    """Declare how patches are segmented; `mae_probe.segmentation.command.Choices` has the defaults."""
    parser.add_argument("--head", choices=("knn", "linear"), default="knn", help=_HEAD)
    parser.add_argument("--block", type=int, default=-1, metavar="NUMBER", help=_BLOCK)
    parser.add_argument("--k", type=int, default=30, help="knn: neighbours that vote (default 30)")
    parser.add_argument("--memory", type=int, default=100_000, help="knn: training patches to keep (default 100000)")
    parser.add_argument("--whiten", action="store_true", help=f"knn: {_WHITEN}".replace("images", "patches"))
    parser.add_argument("--epochs", type=int, default=20, help="linear: passes over the training images (default 20)")
    parser.add_argument("--lr", type=float, default=1e-3, help="linear: highest learning rate (default 0.001)")
    parser.add_argument(
        "--ignore", type=int, default=255, help="value of pixels in masks that do not count (default 255)"
    )


def _add_two_lists(parser: Parser) -> None:
    """Declare what a command on training and validation images takes."""
    add_flags(parser, ENCODING_FLAGS)
    parser.add_argument("--train", type=Path, metavar="FILE", help="features of the training list, instead of images")
    parser.add_argument("--val", type=Path, metavar="FILE", help="features of the images to score")
    _add_pool(parser)
    add_json(parser)
    add_pairs(parser, "MODEL.GLOBAL_POOL True")


def _add_pool(parser: Parser) -> None:
    parser.add_argument("--pool", choices=POOLS, action="append", default=[], help=_POOL)
    _add_block(parser, "; several, or all, are compared in one pass over the images")


def _add_block(parser: Parser, more: str) -> None:
    parser.add_argument("--block", type=_block, action="append", default=[], metavar="NUMBER", help=_BLOCK + more)


def _block(word: str) -> str:
    if word != "all" and not _BLOCK_NUMBER.fullmatch(word):
        raise ArgumentTypeError(f"{word!r} is neither the number of a block nor all")
    return word


def _open(args: Namespace, flags: Sequence[Flag], pairs: Sequence[str]) -> Opened:
    from mae_core.stage.config.from_weights import load_config
    from mae_probe.config import RECIPE

    return load_config(RECIPE, args.cfg, flag_pairs(args, flags), pairs, whole=True)


def _features(args: Namespace) -> None:
    opened = _open(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_probe.extraction.encoding import encode_lists, grid_of
    from mae_probe.extraction.feature_file import prepare_file, prepare_token_file, write_features, write_tokens
    from mae_probe.sweep import part_name

    if args.tokens and args.pool:
        raise UserError("--tokens and --pool exclude each other: tokens are what would be pooled")
    output, parts = Path(args.output or "features.npz"), _parts(args, opened.config)
    names = [f"-{part_name(part, parts).replace(' ', '-')}" for part in parts] if len(parts) > 1 else [""]
    outputs = [output.with_stem(f"{output.stem}{name}") for name in names]
    for path in outputs:
        (prepare_token_file if args.tokens else prepare_file)(path)  # before the work
    require_overlap(args.windows, opened.config.DATA.IMAGE_SIZE)
    lists = [args.list or opened.config.DATA.VAL_LIST]
    encoded = encode_lists(opened, lists, "features", "optional", parts, args.windows)[0]
    what = "images" if args.windows is None else "windows"
    for path, (part, features) in zip(outputs, encoded.items(), strict=True):
        if args.tokens:
            rows, columns = grid_of(opened.config)
            write_tokens(path, features, (rows, columns), part.block)
            each = f"{rows} x {columns} tokens of {features.features.shape[2]} numbers each"
        else:
            write_features(path, features)
            each = f"{features.features.shape[1]} numbers each"
        print(f"{path}: {len(features.paths)} {what}, {each}")


def _parts(args: Namespace, config: Config) -> list[Part]:
    """Return what the flags ask for, each once, with blocks counted from 0."""
    from mae_probe.extraction.encoding import own_pool
    from mae_probe.extraction.pooling import TOKENS, Part, block_numbers

    pools = [TOKENS] if getattr(args, "tokens", False) else args.pool or [own_pool(config)]
    blocks = block_numbers(args.block or [-1], config.MODEL.ENCODER.DEPTH)
    return [Part(pool, block) for block in blocks for pool in dict.fromkeys(pools)]


def _open_two_lists(args: Namespace) -> Opened:
    """Check the arguments of a command on two lists, or on files of their features."""
    if bool(args.train) != bool(args.val):
        raise UserError("--train and --val go together: two files of mae-probe features")
    if args.train and (args.pool or args.block):
        flag = "--pool" if args.pool else "--block"
        raise UserError(f"{flag} is for images; --train and --val hold what is pooled: give it to mae-probe features")
    opened = _open(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_core.stage.run.scores_file import prepare_json

    prepare_json(args.json)
    return opened


def _knn(args: Namespace) -> None:
    if args.k and min(args.k) < 1:
        raise UserError(f"--k {min(args.k)} is not positive")
    opened = _open_two_lists(args)
    from mae_core.stage.run.scores_file import print_result, write_json
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import read_features
    from mae_probe.extraction.pooling import PIXELS, Part
    from mae_probe.knn import KS, knn_figures

    ks, pixels = args.k or KS, dict[int, float]()
    if args.train:
        train, val = {Part(""): read_features(args.train)}, {Part(""): read_features(args.val)}
    else:
        lists = [opened.config.DATA.TRAIN_LIST, opened.config.DATA.VAL_LIST]
        train, val = encode_lists(opened, lists, "knn", parts=[*_parts(args, opened.config), Part(PIXELS)])
        of_pixels = knn_figures(train.pop(Part(PIXELS)), val[Part(PIXELS)], ks)
        pixels = {k: of_k["top1"] for k, of_k in of_pixels.items()}
    found = {part: knn_figures(features, val[part], ks, args.whiten) for part, features in train.items()}
    for row in _knn_rows(found, pixels):
        print_result(args.json, row)
    if pixels and max(pixels.values()) > max(of_k["top1"] for by_k in found.values() for of_k in by_k.values()):
        print_result(args.json, f"raw pixels do better than these features: {_advice(args)}")
    names = next(iter(next(iter(found.values())).values()))
    figures = {
        name: _plain({part: {str(k): of_k[name] for k, of_k in by_k.items()} for part, by_k in found.items()})
        for name in names
    }
    if pixels:
        figures["raw_pixels"] = {str(k): accuracy for k, accuracy in pixels.items()}
    images = len(next(iter(val.values())).labels)
    write_json(args.json, {**figures, "whitened": args.whiten, **_asked(args, found), "images": images})


def _knn_rows(found: Mapping[Part, Mapping[int, Mapping[str, float]]], pixels: Mapping[int, float]) -> list[str]:
    """Say what kNN found: a table of several blocks, else a line for each pool and k."""
    from mae_core.evaluation.class_figures import spoken
    from mae_probe.sweep import flags_of, sweep_lines

    if len({part.block for part in found}) > 1:
        top1 = {part: {f"k={k}": of_k["top1"] for k, of_k in by_k.items()} for part, by_k in found.items()}
        return sweep_lines("kNN, top-1", top1, {"raw pixels": {f"k={k}": value for k, value in pixels.items()}})
    rows = []
    for part, by_k in found.items():
        for k, of_k in by_k.items():
            beside = f" (raw pixels {pixels[k]:.2f})" if pixels else ""
            rows.append(f"kNN{flags_of(part, found)} k={k}: top-1 {of_k['top1']:.2f}{beside} {spoken(of_k)}")
    return rows


def _asked(args: Namespace, found: Collection[Part]) -> dict[str, object]:
    """Return which pools and blocks were asked for: one or several of each, None where a flag was not given."""
    pools, blocks = (list(dict.fromkeys(each)) for each in zip(*found, strict=True))
    given = {"pool": pools if args.pool else [], "block": blocks if args.block else []}
    return {name: values if len(values) > 1 else next(iter(values), None) for name, values in given.items()}


def _plain(by_part: Mapping[Part, object]) -> object:
    """Return what belongs to the only part, or all of several by what tells them apart."""
    from mae_probe.sweep import part_name

    if len(by_part) == 1:
        return next(iter(by_part.values()))
    return {part_name(part, by_part): value for part, value in by_part.items()}


def _advice(args: Namespace) -> str:
    """Return what may be tried where raw pixels do better; `docs/small_data.md` has what each was worth."""
    flags = {"--whiten": args.whiten, "--pool grid2": args.pool}
    untried = " ".join(flag for flag, given in flags.items() if not given)
    return f"try {untried}, or pre-train longer" if untried else "pre-train longer"


def _logistic(args: Namespace) -> None:
    import_paddle()
    from mae_core.evaluation.class_figures import spoken
    from mae_core.stage.run.scores_file import print_result, write_json
    from mae_probe.logistic import logistic_figures, require_sklearn

    require_sklearn()  # before the work
    opened = _open_two_lists(args)
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import read_features
    from mae_probe.extraction.pooling import Part
    from mae_probe.sweep import flags_of, sweep_lines

    if args.train:
        train, val = {Part(""): read_features(args.train)}, {Part(""): read_features(args.val)}
    else:
        lists = [opened.config.DATA.TRAIN_LIST, opened.config.DATA.VAL_LIST]
        train, val = encode_lists(opened, lists, "logistic", parts=_parts(args, opened.config))
    found = {part: logistic_figures(features, val[part], args.C) for part, features in train.items()}
    if len({part.block for part in found}) > 1:
        top1 = {part: {"top-1": of_part["top1"]} for part, of_part in found.items()}
        rows = sweep_lines(f"logistic regression, C={args.C:g}", top1, {})
    else:
        name = "logistic regression{} C={:g}: top-1 {:.2f} {}"
        rows = [name.format(flags_of(p, found), args.C, of["top1"], spoken(of)) for p, of in found.items()]
    for row in rows:
        print_result(args.json, row)
    figures = {
        name: _plain({part: of_part[name] for part, of_part in found.items()}) for name in next(iter(found.values()))
    }
    images = len(next(iter(val.values())).labels)
    write_json(args.json, {**figures, "C": args.C, "images": images})


def _segment(args: Namespace) -> None:
    opened = _open(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_core.files import png_bytes, refuse_unwritable, try_folder, write_output
    from mae_core.stage.run.scores_file import prepare_json, print_result, write_json
    from mae_probe.segmentation.command import Choices, segment, sheet_path

    choices = Choices(**{field.name: getattr(args, field.name) for field in fields(Choices)})
    prepare_json(args.json)
    path = sheet_path(args.output) if args.output else None
    if path:
        with refuse_unwritable(path):
            try_folder(path.parent)  # before the work
    found = segment(opened, choices)
    for line in found.lines():
        print_result(args.json, line)
    write_json(args.json, {**asdict(choices), "classes": found.names, **found.figures()})
    if path:
        with refuse_unwritable(path):
            write_output(path, png_bytes(found.sheet.save))
        print_result(args.json, f"{path}: image, truth, prediction and mistakes")


def _attention(args: Namespace) -> None:
    from mae_probe.config import RECIPE

    images, pairs = split_pairs(args, RECIPE)
    opened = _open(args, MODEL_FLAGS, pairs)
    import_paddle()
    from mae_probe.attention.overlay import draw_attention

    for path in draw_attention(opened, images, args.output or "attention", args.bands):
        print(path)


def _report(args: Namespace) -> None:
    path = prepare_page(args.run, args.output)
    import_paddle()
    from mae_probe.report import run_page

    print(write_page(run_page(args.run, args.compare, args.images), path))
