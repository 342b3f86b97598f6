"""`mae-probe`: train or score a linear probe (no subcommand), `features`, `knn`, `logistic`, `attention`, `report`.

Help answers without importing Paddle.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_core.errors import UserError
from mae_core.process.command_line import Flag, Parser, add_flags, flag_pairs, run
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.command import train_or_score
from mae_core.stage.cli.flags import STAGE_FLAGS, add_bands, add_json, stage_parser
from mae_core.stage.cli.report_command import add_compare, add_images, prepare_page, report_parser, write_page
from mae_core.stage.run.memory import explain
from mae_probe import __version__

if TYPE_CHECKING:
    from mae_core.stage.config.node import Config

DESCRIPTION = "Train a linear classifier on the frozen features of a masked autoencoder (arXiv 2111.06377)."
SUFFIXES = (".npz", ".safetensors", ".csv", ".parquet")  # of feature files
POOLS = ("class", "mean", "grid2", "grid4")  # the names in mae_probe.extraction.pooling.POOLS, which need Paddle
COMMANDS = ("features", "knn", "logistic", "attention", "report")
EPILOG = "also: " + ", ".join(f"mae-probe {name} --help" for name in COMMANDS)
_ENCODING = ("cfg", "dataset", "data_path", "batch_size", "image_size", "pretrained", "amp")
_ON = {"action": "store_true"}
RANDOM_INIT_FLAG = Flag("random_init", "MODEL.RANDOM_INIT", "random weights: what training has to beat", options=_ON)
_OFF = {"action": "store_const", "const": False}
NO_CACHE_FLAG = Flag("no_cache", "KEEP_FEATURES", "encode anew; read and keep no features in features/", options=_OFF)
OWN_FLAGS = (RANDOM_INIT_FLAG, NO_CACHE_FLAG)
ENCODING_FLAGS = (*(flag for flag in STAGE_FLAGS if flag.name in _ENCODING), *OWN_FLAGS)
MODEL_FLAGS = tuple(flag for flag in STAGE_FLAGS if flag.name in ("cfg", "image_size", "pretrained"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(_dispatch, argv, explain)


def _dispatch(argv: list[str]) -> None:
    commands = {"features": _features, "knn": _knn, "logistic": _logistic, "attention": _attention}
    commands["report"] = _report
    if argv and argv[0] in commands:
        commands[argv[0]](argv[1:])
    else:
        train_or_score("mae_probe", probe_parser(), argv, commands, OWN_FLAGS)


def probe_parser() -> Parser:
    """Build the parser of the main command."""
    parser = stage_parser("mae-probe", DESCRIPTION, __version__, EPILOG)
    add_flags(parser, OWN_FLAGS)
    return parser


def _config(args: Namespace, flags: Sequence[Flag]) -> Config:
    from mae_core.stage.config.from_weights import load_config
    from mae_probe.config import RECIPE

    return load_config(RECIPE, args.cfg, flag_pairs(args, flags), args.pairs, whole=True)


def _parser(command: str, description: str, flags: Sequence[Flag]) -> Parser:
    parser = Parser(prog=f"mae-probe {command}", description=description)
    add_flags(parser, flags)
    return parser


def _add_pairs(parser: Parser) -> None:
    parser.add_argument(
        "pairs", nargs="*", metavar="KEY VALUE", help="config overrides, such as MODEL.GLOBAL_POOL True"
    )


def _add_pool(parser: Parser) -> None:
    parser.add_argument(
        "--pool",
        action="append",
        choices=POOLS,
        help="class token, mean of the patch tokens, or means of 2 x 2 or 4 x 4 parts of the image, side by side"
        " (default: as MODEL.GLOBAL_POOL says); several, as in --pool class mean, take one pass over the images",
    )


def _arguments(parser: Parser, argv: list[str]) -> Namespace:
    """Read arguments, `--pool A B` as `--pool A --pool B`: argparse would take KEY VALUE behind it for pools too."""
    words: list[str] = []
    for word in argv:
        behind_a_pool = word in POOLS and words[-2:-1] == ["--pool"]
        words += ["--pool", word] if behind_a_pool else [word]
    args = parser.parse_intermixed_args(words)
    args.pool = args.pool and list(dict.fromkeys(args.pool))
    return args


def _features(argv: list[str]) -> None:
    parser = _parser("features", "Write the features of a list's images, with paths and labels.", ENCODING_FLAGS)
    add_flags(parser, (Flag("output", None, f"file to write: {', '.join(SUFFIXES)} (default features.npz)"),))
    parser.add_argument("--list", help="list file below -data_path (default DATA.VAL_LIST); labels may be missing")
    _add_pool(parser)
    _add_pairs(parser)
    args = _arguments(parser, argv)
    config = _config(args, ENCODING_FLAGS)
    import_paddle()
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import prepare_file, write_features

    output, pools = Path(args.output or "features.npz"), args.pool or [""]
    outputs = [output.with_stem(f"{output.stem}-{pool}") for pool in pools] if len(pools) > 1 else [output]
    for path in outputs:
        prepare_file(path)  # before the work
    encoded = encode_lists(config, [args.list or config.DATA.VAL_LIST], "features", "optional", args.pool or ())[0]
    for path, features in zip(outputs, encoded.values(), strict=True):
        write_features(path, features)
        print(f"{path}: {features.features.shape[0]} images, {features.features.shape[1]} numbers each")


def _pair_parser(command: str, description: str) -> Parser:
    parser = _parser(command, description, ENCODING_FLAGS)
    parser.add_argument("--train", type=Path, metavar="FILE", help="features of the training list, instead of images")
    parser.add_argument("--val", type=Path, metavar="FILE", help="features of the images to score")
    _add_pool(parser)
    add_json(parser)
    _add_pairs(parser)
    return parser


def _pair_config(args: Namespace) -> Config:
    """Check the arguments of a command on two lists, or on files of their features."""
    if bool(args.train) != bool(args.val):
        raise UserError("--train and --val go together: two files of mae-probe features")
    if args.train and args.pool:
        raise UserError("--pool is for images; what lies in --train and --val is pooled: give it to mae-probe features")
    config = _config(args, ENCODING_FLAGS)
    import_paddle()
    from mae_core.stage.run.scores_file import prepare_json

    prepare_json(args.json)
    return config


def _knn(argv: list[str]) -> None:
    parser = _pair_parser("knn", "Classify by the nearest training images: cosine, votes exp(cosine / 0.07).")
    parser.add_argument("--k", type=int, action="append", help="neighbours; may be repeated (default 10, 20, 100, 200)")
    parser.add_argument(
        "--whiten",
        action="store_true",
        help="centre the features and scale their principal directions to one variance, as the training images have"
        " them; raw pixels stay as they are",
    )
    args = _arguments(parser, argv)
    if args.k and min(args.k) < 1:
        raise UserError(f"--k {min(args.k)} is not positive")
    config = _pair_config(args)
    from mae_core.stage.run.scores_file import say, write_json
    from mae_probe.extraction.encoding import PIXELS, encode_lists, own_pool
    from mae_probe.extraction.feature_file import read_features
    from mae_probe.knn import KS, knn_accuracy

    ks, pixels = args.k or KS, dict[int, float]()
    if args.train:
        train, val = {"": read_features(args.train)}, {"": read_features(args.val)}
    else:
        pools = [*(args.pool or [own_pool(config)]), PIXELS]
        train, val = encode_lists(config, [config.DATA.TRAIN_LIST, config.DATA.VAL_LIST], "knn", pools=pools)
        pixels = knn_accuracy(train.pop(PIXELS), val[PIXELS], ks)
    found = {pool: knn_accuracy(features, val[pool], ks, args.whiten) for pool, features in train.items()}
    for pool, by_k in found.items():
        for k, accuracy in by_k.items():
            beside = f" (raw pixels {pixels[k]:.2f})" if pixels else ""
            say(args.json, f"kNN{_named(pool, found)} k={k}: top-1 {accuracy:.2f}{beside}")
    if pixels and max(pixels.values()) > max(max(by_k.values()) for by_k in found.values()):
        say(args.json, f"raw pixels do better than these features: {_advice(args)}")
    top1 = _plain({pool: {str(k): accuracy for k, accuracy in by_k.items()} for pool, by_k in found.items()})
    beside_pixels = {"raw_pixels": {str(k): accuracy for k, accuracy in pixels.items()}} if pixels else {}
    images = len(next(iter(val.values())).labels)
    write_json(
        args.json,
        {"top1": top1, **beside_pixels, "whitened": args.whiten, "pool": _asked(args), "images": images},
    )


def _named(pool: str, pools: Collection[str]) -> str:
    """Return what tells the row of a pool from others."""
    return f" --pool {pool}" if len(pools) > 1 else ""


def _plain(by_pool: dict[str, Any]) -> Any:
    """Return the figures of the only pool, or those of several by pool."""
    return by_pool if len(by_pool) > 1 else next(iter(by_pool.values()))


def _asked(args: Namespace) -> list[str] | str | None:
    return args.pool[0] if args.pool and len(args.pool) == 1 else args.pool


def _advice(args: Namespace) -> str:
    """Say what may be tried where raw pixels do better; `docs/small_data.md` has what each was worth."""
    flags = {"--whiten": args.whiten, "--pool grid2": args.pool}
    untried = " ".join(flag for flag, given in flags.items() if not given)
    return f"try {untried}, or pre-train longer" if untried else "pre-train longer"


def _logistic(argv: list[str]) -> None:
    parser = _pair_parser("logistic", "Classify by logistic regression on features (scikit-learn).")
    parser.add_argument("--C", type=float, default=1.0, help="inverse strength of the penalty (default 1)")
    args = _arguments(parser, argv)
    import_paddle()
    from mae_core.stage.run.scores_file import say, write_json
    from mae_probe.logistic import logistic_accuracy, require_sklearn

    require_sklearn()  # before the work
    config = _pair_config(args)
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import read_features

    if args.train:
        train, val = {"": read_features(args.train)}, {"": read_features(args.val)}
    else:
        lists = [config.DATA.TRAIN_LIST, config.DATA.VAL_LIST]
        train, val = encode_lists(config, lists, "logistic", pools=args.pool or ())
    found = {pool: logistic_accuracy(features, val[pool], args.C) for pool, features in train.items()}
    for pool, accuracy in found.items():
        say(args.json, f"logistic regression{_named(pool, found)} C={args.C:g}: top-1 {accuracy:.2f}")
    images = len(next(iter(val.values())).labels)
    write_json(args.json, {"top1": _plain(found), "C": args.C, "images": images})


def _attention(argv: list[str]) -> None:
    parser = _parser("attention", "Draw what the class token attends to: each head, their mean, rollout.", MODEL_FLAGS)
    add_flags(parser, (Flag("output", None, "folder for the PNG files (default attention)"),))
    add_bands(parser)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="config override")
    parser.add_argument("images", nargs="+", help="image files")
    args = parser.parse_intermixed_args(argv)
    args.pairs = [word for pair in args.set for word in pair]
    config = _config(args, MODEL_FLAGS)
    import_paddle()
    from mae_probe.attention.overlay import draw_attention

    for path in draw_attention(config, args.images, args.output or "attention", args.bands):
        print(path)


def _report(argv: list[str]) -> None:
    parser = report_parser("mae-probe report")
    add_compare(parser)
    add_images(parser, "attention maps of so many validation images", 3)
    args = parser.parse_args(argv)
    path = prepare_page(args.run, args.output)
    import_paddle()
    from mae_probe.report import run_page

    print(write_page(run_page(args.run, args.compare, args.images), path))
