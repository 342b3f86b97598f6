"""`mae-probe`: train or score a linear probe (no subcommand), and the subcommands. Help does not import Paddle."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda words: make_parser().start(_split_pools(words)), argv, explain)


def _split_pools(words: list[str]) -> list[str]:
    """Turn `--pool A B` into `--pool A --pool B`: argparse would take KEY VALUE words behind it for pools too."""
    split: list[str] = []
    for word in words:
        split += ["--pool", word] if word in POOLS and split[-2:-1] == ["--pool"] else [word]
    return split


def make_parser() -> Parser:
    """Declare the command and its subcommands."""
    parser = stage_parser("mae_probe", DESCRIPTION, __version__, OWN_FLAGS)

    features = parser.add_command("features", _features, "write the features of a list's images, with paths and labels")
    add_flags(features, ENCODING_FLAGS)
    add_flags(features, (Flag("output", None, f"file to write: {', '.join(SUFFIXES)} (default features.npz)"),))
    features.add_argument("--list", help="list file below -data_path (default DATA.VAL_LIST); labels may be missing")
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
    _add_pool(parser)
    add_json(parser)
    add_pairs(parser, "MODEL.GLOBAL_POOL True")


def _add_pool(parser: Parser) -> None:
    parser.add_argument("--pool", choices=POOLS, action="append", default=[], help=_POOL)


def _open(args: Namespace, flags: Sequence[Flag], pairs: Sequence[str]) -> Opened:
    from mae_core.stage.config.from_weights import load_config
    from mae_probe.config import RECIPE

    return load_config(RECIPE, args.cfg, flag_pairs(args, flags), pairs, whole=True)


def _features(args: Namespace) -> None:
    opened = _open(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import prepare_file, write_features

    output, pools = Path(args.output or "features.npz"), list(dict.fromkeys(args.pool))
    outputs = [output.with_stem(f"{output.stem}-{pool}") for pool in pools] if len(pools) > 1 else [output]
    for path in outputs:
        prepare_file(path)  # before the work
    require_overlap(args.windows, opened.config.DATA.IMAGE_SIZE)
    lists = [args.list or opened.config.DATA.VAL_LIST]
    encoded = encode_lists(opened, lists, "features", "optional", pools, args.windows)[0]
    for path, features in zip(outputs, encoded.values(), strict=True):
        write_features(path, features)
        rows, numbers = features.features.shape
        print(f"{path}: {rows} {'images' if args.windows is None else 'windows'}, {numbers} numbers each")


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
    from mae_core.evaluation.class_figures import spoken
    from mae_core.stage.run.scores_file import print_result, write_json
    from mae_probe.extraction.encoding import PIXELS, encode_lists, own_pool
    from mae_probe.extraction.feature_file import read_features
    from mae_probe.knn import KS, knn_figures

    ks, pixels = args.k or KS, dict[int, float]()
    if args.train:
        train, val = {"": read_features(args.train)}, {"": read_features(args.val)}
    else:
        lists = [opened.config.DATA.TRAIN_LIST, opened.config.DATA.VAL_LIST]
        train, val = encode_lists(opened, lists, "knn", pools=[*(args.pool or [own_pool(opened.config)]), PIXELS])
        of_pixels = knn_figures(train.pop(PIXELS), val[PIXELS], ks)
        pixels = {k: of_k["top1"] for k, of_k in of_pixels.items()}
    found = {pool: knn_figures(features, val[pool], ks, args.whiten) for pool, features in train.items()}
    for pool, by_k in found.items():
        for k, of_k in by_k.items():
            beside = f" (raw pixels {pixels[k]:.2f})" if pixels else ""
            row = f"kNN{_named(pool, found)} k={k}: top-1 {of_k['top1']:.2f}{beside} {spoken(of_k)}"
            print_result(args.json, row)
    if pixels and max(pixels.values()) > max(of_k["top1"] for by_k in found.values() for of_k in by_k.values()):
        print_result(args.json, f"raw pixels do better than these features: {_advice(args)}")
    names = next(iter(next(iter(found.values())).values()))
    figures = {
        name: _plain({pool: {str(k): of_k[name] for k, of_k in by_k.items()} for pool, by_k in found.items()})
        for name in names
    }
    if pixels:
        figures["raw_pixels"] = {str(k): accuracy for k, accuracy in pixels.items()}
    asked = _plain({pool: pool for pool in args.pool}) if len(found) == 1 else list(found)
    images = len(next(iter(val.values())).labels)
    write_json(args.json, {**figures, "whitened": args.whiten, "pool": asked, "images": images})


def _named(pool: str, pools: Collection[str]) -> str:
    """Return what tells the row of a pool from others."""
    return f" --pool {pool}" if len(pools) > 1 else ""


def _plain(by_pool: Mapping[str, object]) -> object:
    """Return what belongs to the only pool, None where there is none, or all of several."""
    return by_pool if len(by_pool) > 1 else next(iter(by_pool.values()), None)


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

    if args.train:
        train, val = {"": read_features(args.train)}, {"": read_features(args.val)}
    else:
        lists = [opened.config.DATA.TRAIN_LIST, opened.config.DATA.VAL_LIST]
        train, val = encode_lists(opened, lists, "logistic", pools=args.pool)
    found = {pool: logistic_figures(features, val[pool], args.C) for pool, features in train.items()}
    for pool, of_pool in found.items():
        row = f"logistic regression{_named(pool, found)} C={args.C:g}: top-1 {of_pool['top1']:.2f} {spoken(of_pool)}"
        print_result(args.json, row)
    figures = {
        name: _plain({pool: of_pool[name] for pool, of_pool in found.items()}) for name in next(iter(found.values()))
    }
    images = len(next(iter(val.values())).labels)
    write_json(args.json, {**figures, "C": args.C, "images": images})


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
