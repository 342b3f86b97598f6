"""`mae-probe`: train or score a linear probe (no subcommand), and the subcommands. Help does not import Paddle."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
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
from mae_core.stage.run.memory import explain
from mae_probe import __version__

if TYPE_CHECKING:
    from mae_core.stage.config.from_weights import Opened

DESCRIPTION = "Train a linear classifier on the frozen features of a masked autoencoder (arXiv 2111.06377)."
SUFFIXES = (".npz", ".safetensors", ".csv", ".parquet")  # of feature files
POOLS = ("class", "mean", "grid2", "grid4")  # the names in mae_probe.extraction.pooling.POOLS, which need Paddle
_ENCODING = ("cfg", "dataset", "data_path", "batch_size", "image_size", "pretrained", "amp")
_ON = {"action": "store_true"}
RANDOM_INIT_FLAG = Flag("random_init", "MODEL.RANDOM_INIT", "random weights: what training has to beat", options=_ON)
ENCODING_FLAGS = (*(flag for flag in STAGE_FLAGS if flag.name in _ENCODING), RANDOM_INIT_FLAG)
MODEL_FLAGS = tuple(flag for flag in STAGE_FLAGS if flag.name in ("cfg", "image_size", "pretrained"))
_WHITEN = (
    "centre the features and scale their principal directions to one variance, as the training images have them; raw"
    " pixels stay as they are"
)
_POOL = (
    "class token, mean of the patch tokens, or means of 2 x 2 or 4 x 4 parts of the image, side by side (default: by"
    " MODEL.GLOBAL_POOL)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(make_parser().start, argv, explain)


def make_parser() -> Parser:
    """Declare the command and its subcommands."""
    parser = stage_parser("mae_probe", DESCRIPTION, __version__, [RANDOM_INIT_FLAG])

    features = parser.add_command("features", _features, "write the features of a list's images, with paths and labels")
    add_flags(features, ENCODING_FLAGS)
    add_flags(features, (Flag("output", None, f"file to write: {', '.join(SUFFIXES)} (default features.npz)"),))
    features.add_argument("--list", help="list file below -data_path (default DATA.VAL_LIST); labels may be missing")
    features.add_argument("--pool", choices=POOLS, help=_POOL)
    add_windows(features)
    add_pairs(features, "MODEL.GLOBAL_POOL True")

    knn = parser.add_command("knn", _knn, "classify by the nearest training images: cosine, votes exp(cosine / 0.07)")
    _add_two_lists(knn)
    knn.add_argument("--k", type=int, action="append", help="neighbours; may be repeated (default 10, 20, 100, 200)")
    knn.add_argument("--whiten", action="store_true", help=_WHITEN)

    logistic = parser.add_command("logistic", _logistic, "classify by logistic regression on features (scikit-learn)")
    _add_two_lists(logistic)
    logistic.add_argument("--C", type=float, default=1.0, help="inverse strength of the penalty (default 1)")

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


def _add_two_lists(parser: Parser) -> None:
    """Declare what a command on training and validation images takes."""
    add_flags(parser, ENCODING_FLAGS)
    parser.add_argument("--train", type=Path, metavar="FILE", help="features of the training list, instead of images")
    parser.add_argument("--val", type=Path, metavar="FILE", help="features of the images to score")
    parser.add_argument("--pool", choices=POOLS, help=_POOL)
    add_json(parser)
    add_pairs(parser, "MODEL.GLOBAL_POOL True")


def _open(args: Namespace, flags: Sequence[Flag], pairs: Sequence[str]) -> Opened:
    from mae_core.stage.config.from_weights import load_config
    from mae_probe.config import RECIPE

    return load_config(RECIPE, args.cfg, flag_pairs(args, flags), pairs, whole=True)


def _features(args: Namespace) -> None:
    opened = _open(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import prepare_file, write_features

    output = Path(args.output or "features.npz")
    prepare_file(output)  # before the work
    lists = [args.list or opened.config.DATA.VAL_LIST]
    require_overlap(args.windows, opened.config.DATA.IMAGE_SIZE)
    features = encode_lists(opened, lists, "features", "optional", args.pool, args.windows)[0]
    write_features(output, features)
    rows, numbers = features.features.shape
    print(f"{output}: {rows} {'images' if args.windows is None else 'windows'}, {numbers} numbers each")


def _open_two_lists(args: Namespace) -> Opened:
    """Check the arguments of a command on two lists, or on files of their features."""
    if bool(args.train) != bool(args.val):
        raise UserError("--train and --val go together: two files of mae-probe features")
    if args.train and args.pool:
        raise UserError("--pool is for images; what lies in --train and --val is pooled: give it to mae-probe features")
    opened = _open(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_core.stage.run.scores_file import prepare_json

    prepare_json(args.json)
    return opened


def _knn(args: Namespace) -> None:
    if args.k and min(args.k) < 1:
        raise UserError(f"--k {min(args.k)} is not positive")
    opened = _open_two_lists(args)
    from mae_core.stage.run.scores_file import say, write_json
    from mae_probe.extraction.encoding import encode_with_pixels
    from mae_probe.extraction.feature_file import read_features
    from mae_probe.knn import KS, knn_accuracy

    pixels: dict[int, float] = {}
    if args.train:
        train, val = read_features(args.train), read_features(args.val)
    else:
        lists = [opened.config.DATA.TRAIN_LIST, opened.config.DATA.VAL_LIST]
        (train, val), (train_pixels, val_pixels) = encode_with_pixels(opened, lists, "knn", args.pool)
        pixels = knn_accuracy(train_pixels, val_pixels, args.k or KS)
    found = knn_accuracy(train, val, args.k or KS, args.whiten)
    for k, accuracy in found.items():
        say(args.json, f"kNN k={k}: top-1 {accuracy:.2f}" + (f" (raw pixels {pixels[k]:.2f})" if pixels else ""))
    if pixels and max(pixels.values()) > max(found.values()):
        say(args.json, f"raw pixels do better than these features: {_advice(args)}")
    figures = {"top1": found, "raw_pixels": pixels} if pixels else {"top1": found}
    as_text = {name: {str(k): accuracy for k, accuracy in by_k.items()} for name, by_k in figures.items()}
    write_json(args.json, {**as_text, "whitened": args.whiten, "pool": args.pool, "images": len(val.labels)})


def _advice(args: Namespace) -> str:
    """Return what may be tried where raw pixels do better; `docs/small_data.md` has what each was worth."""
    flags = {"--whiten": args.whiten, "--pool grid2": args.pool}
    untried = " ".join(flag for flag, given in flags.items() if not given)
    return f"try {untried}, or pre-train longer" if untried else "pre-train longer"


def _logistic(args: Namespace) -> None:
    import_paddle()
    from mae_core.stage.run.scores_file import say, write_json
    from mae_probe.logistic import logistic_accuracy, require_sklearn

    require_sklearn()  # before the work
    opened = _open_two_lists(args)
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import read_features

    if args.train:
        train, val = read_features(args.train), read_features(args.val)
    else:
        lists = [opened.config.DATA.TRAIN_LIST, opened.config.DATA.VAL_LIST]
        train, val = encode_lists(opened, lists, "logistic", pool=args.pool)
    accuracy = logistic_accuracy(train, val, args.C)
    say(args.json, f"logistic regression C={args.C:g}: top-1 {accuracy:.2f}")
    write_json(args.json, {"top1": accuracy, "C": args.C, "images": len(val.labels)})


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
