"""`mae-probe knn` and `logistic`: validation images classified by the features of training images."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mae_core.errors import UserError
from mae_core.process.command_line import Parser, add_flags
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.flags import add_json, add_pairs
from mae_probe.commands.flags import ENCODING_FLAGS, WHITEN, add_pool, open_config, parts_of
from mae_probe.commands.yardsticks import add_yardsticks, comparison_lines, split_parts

if TYPE_CHECKING:
    from mae_core.stage.config.from_weights import Opened
    from mae_probe.extraction.feature_set import Features
    from mae_probe.extraction.pooling import Part


def add_knn(parser: Parser) -> None:
    """Declare the command."""
    knn = parser.add_command("knn", _knn, "classify by the nearest training images: cosine, votes exp(cosine / 0.07)")
    _add_two_lists(knn)
    knn.add_argument("--k", type=int, action="append", help="neighbours; may be repeated (default 10, 20, 100, 200)")
    knn.add_argument("--whiten", action="store_true", help=WHITEN)


def add_logistic(parser: Parser) -> None:
    """Declare the command."""
    logistic = parser.add_command("logistic", _logistic, "classify by logistic regression on features (scikit-learn)")
    _add_two_lists(logistic)
    logistic.add_argument("--C", type=float, default=1.0, help="inverse strength of the penalty (default 1)")


def _add_two_lists(parser: Parser) -> None:
    """Declare what a command on training and validation images takes."""
    add_flags(parser, ENCODING_FLAGS)
    parser.add_argument("--train", type=Path, metavar="FILE", help="features of the training list, instead of images")
    parser.add_argument("--val", type=Path, metavar="FILE", help="features of the images to score")
    add_pool(parser)
    add_yardsticks(parser)
    add_json(parser)
    add_pairs(parser, "MODEL.GLOBAL_POOL True")


def _open_two_lists(args: Namespace) -> Opened:
    """Check the arguments of a command on two lists, or on files of their features."""
    if bool(args.train) != bool(args.val):
        raise UserError("--train and --val go together: two files of mae-probe features")
    if args.train and (args.pool or args.block):
        flag = "--pool" if args.pool else "--block"
        raise UserError(f"{flag} is for images; --train and --val hold what is pooled: give it to mae-probe features")
    opened = open_config(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_core.stage.run.scores_file import prepare_json

    prepare_json(args.json)
    return opened


def _read_two_lists(args: Namespace, opened: Opened, command: str) -> list[dict[Part, Features]]:
    """Return the features of training and validation images: those of the files, or encoded from both lists."""
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import read_features
    from mae_probe.extraction.pooling import Part

    if args.train:
        return [{Part(""): read_features(file)} for file in (args.train, args.val)]
    lists, parts = [opened.config.DATA.TRAIN_LIST, opened.config.DATA.VAL_LIST], parts_of(args, opened.config)
    return encode_lists(opened, lists, command, parts=parts, yardsticks=not args.no_yardsticks)


def _knn(args: Namespace) -> None:
    if args.k and min(args.k) < 1:
        raise UserError(f"--k {min(args.k)} is not positive")
    opened = _open_two_lists(args)
    from mae_core.stage.run.scores_file import print_result, write_json
    from mae_probe.classifiers import KS, knn_figures
    from mae_probe.extraction.pooling import PIXELS

    train, val = _read_two_lists(args, opened, "knn")
    found = {
        part: knn_figures(features, val[part], args.k or KS, args.whiten and part.pool != PIXELS)
        for part, features in train.items()
    }
    top1 = {part: {str(k): of_k["top1"] for k, of_k in by_k.items()} for part, by_k in found.items()}
    columns = {part: {f"k={k}": value for k, value in of_part.items()} for part, of_part in top1.items()}
    own, _, _ = split_parts(found)
    for row in [*_knn_rows(own), *comparison_lines("kNN, top-1", columns, args)]:
        print_result(args.json, row)
    names = next(iter(next(iter(own.values())).values()))
    figures = {
        name: _plain({part: {str(k): of_k[name] for k, of_k in by_k.items()} for part, by_k in own.items()})
        for name in names
    }
    images = len(next(iter(val.values())).labels)
    asked = {"whitened": args.whiten, **_asked(args, own), "images": images}
    write_json(args.json, {**figures, **_beside(top1), **asked})


def _knn_rows(found: Mapping[Part, Mapping[int, Mapping[str, float]]]) -> list[str]:
    """Return all figures of kNN, a line for each pool and k; none of several blocks, which have a table."""
    from mae_core.evaluation.class_figures import spoken
    from mae_probe.extraction.pooling import flags_of

    if len({part.block for part in found}) > 1:
        return []
    return [
        f"kNN{flags_of(part, found)} k={k}: top-1 {of_k['top1']:.2f} {spoken(of_k)}"
        for part, by_k in found.items()
        for k, of_k in by_k.items()
    ]


def _beside(top1: Mapping[Part, object]) -> dict[str, object]:
    """Return the accuracies of the yardsticks, where there are any, by their names in JSON."""
    _, beside, pixels = split_parts(top1)
    named = {"random_init": _plain(beside) if beside else None, "raw_pixels": pixels}
    return {name: value for name, value in named.items() if value is not None}


def _asked(args: Namespace, found: Collection[Part]) -> dict[str, object]:
    """Return which pools and blocks were asked for: one or several of each, None where a flag was not given."""
    pools, blocks = (list(dict.fromkeys(each)) for each in ([p.pool for p in found], [p.block for p in found]))
    given = {"pool": pools if args.pool else [], "block": blocks if args.block else []}
    return {name: values if len(values) > 1 else next(iter(values), None) for name, values in given.items()}


def _logistic(args: Namespace) -> None:
    import_paddle()
    from mae_core.evaluation.class_figures import spoken
    from mae_core.stage.run.scores_file import print_result, write_json
    from mae_probe.classifiers import logistic_figures, require_sklearn
    from mae_probe.extraction.pooling import flags_of

    require_sklearn()  # before the work
    train, val = _read_two_lists(args, _open_two_lists(args), "logistic")
    found = {part: logistic_figures(features, val[part], args.C) for part, features in train.items()}
    top1 = {part: of_part["top1"] for part, of_part in found.items()}
    own, _, _ = split_parts(found)
    rows, title = [], f"logistic regression, C={args.C:g}"
    if len({part.block for part in own}) == 1:
        name = "logistic regression{} C={:g}: top-1 {:.2f} {}"
        rows = [name.format(flags_of(p, own), args.C, of["top1"], spoken(of)) for p, of in own.items()]
    for row in [*rows, *comparison_lines(title, {part: {"top-1": value} for part, value in top1.items()}, args)]:
        print_result(args.json, row)
    figures = {
        name: _plain({part: of_part[name] for part, of_part in own.items()}) for name in next(iter(own.values()))
    }
    images = len(next(iter(val.values())).labels)
    write_json(args.json, {**figures, **_beside(top1), "C": args.C, "images": images})


def _plain(by_part: Mapping[Part, object]) -> object:
    """Return what belongs to the only part, or all of several by what tells them apart."""
    from mae_probe.extraction.pooling import part_name

    if len(by_part) == 1:
        return next(iter(by_part.values()))
    return {part_name(part, by_part): value for part, value in by_part.items()}
