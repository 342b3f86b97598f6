"""`mae-probe knn` and `logistic`: validation images classified by the features of training images."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mae_core.errors import UserError
from mae_core.process.command_line import Parser, add_flags
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.flags import add_json, add_pairs
from mae_probe.commands.flags import ENCODING_FLAGS, WHITEN, add_pool, open_config, parts_of

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


def _read_two_lists(
    args: Namespace, opened: Opened, command: str, also: Sequence[Part] = ()
) -> list[dict[Part, Features]]:
    """Return the features of training and validation images: those of the files, or encoded from both lists.

    Args:
        also: what else is taken of images.
    """
    from mae_probe.extraction.encoding import encode_lists
    from mae_probe.extraction.feature_file import read_features
    from mae_probe.extraction.pooling import Part

    if args.train:
        return [{Part(""): read_features(file)} for file in (args.train, args.val)]
    lists = [opened.config.DATA.TRAIN_LIST, opened.config.DATA.VAL_LIST]
    return encode_lists(opened, lists, command, parts=[*parts_of(args, opened.config), *also])


def _knn(args: Namespace) -> None:
    if args.k and min(args.k) < 1:
        raise UserError(f"--k {min(args.k)} is not positive")
    opened = _open_two_lists(args)
    from mae_core.stage.run.scores_file import print_result, write_json
    from mae_probe.classifiers import KS, knn_figures
    from mae_probe.extraction.pooling import PIXELS, Part

    ks, pixels = args.k or KS, dict[int, float]()
    train, val = _read_two_lists(args, opened, "knn", [Part(PIXELS)])
    if not args.train:
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
    """Return what kNN found: a table of several blocks, else a line for each pool and k."""
    from mae_core.evaluation.class_figures import spoken
    from mae_probe.extraction.pooling import flags_of

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


def _advice(args: Namespace) -> str:
    """Return what may be tried where raw pixels do better; `docs/small_data.md` has what each was worth."""
    flags = {"--whiten": args.whiten, "--pool grid2": args.pool}
    untried = " ".join(flag for flag, given in flags.items() if not given)
    return f"try {untried}, or pre-train longer" if untried else "pre-train longer"


def _logistic(args: Namespace) -> None:
    import_paddle()
    from mae_core.evaluation.class_figures import spoken
    from mae_core.stage.run.scores_file import print_result, write_json
    from mae_probe.classifiers import logistic_figures, require_sklearn
    from mae_probe.extraction.pooling import flags_of

    require_sklearn()  # before the work
    train, val = _read_two_lists(args, _open_two_lists(args), "logistic")
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


def _plain(by_part: Mapping[Part, object]) -> object:
    """Return what belongs to the only part, or all of several by what tells them apart."""
    from mae_probe.extraction.pooling import part_name

    if len(by_part) == 1:
        return next(iter(by_part.values()))
    return {part_name(part, by_part): value for part, value in by_part.items()}


def sweep_lines(
    title: str, figures: Mapping[Part, Mapping[str, float]], others: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Lay figures out as a table, a row for each part, and name the largest.

    Args:
        title: what the figures are.
        figures: by part and column; all have the same columns.
        others: rows to compare with, by name.
    """
    from mae_probe.extraction.pooling import flags_of

    rows = {flags_of(part, figures).strip(): values for part, values in figures.items()}
    columns = list(next(iter(rows.values())))
    width = max(map(len, (title, *rows, *others)))
    lines = [title.ljust(width) + "".join(f"{column:>9}" for column in columns)]
    lines += [
        name.ljust(width) + "".join(f"{values[column]:9.2f}" for column in columns)
        for name, values in {**rows, **others}.items()
    ]
    best, column = max(((name, column) for name in rows for column in columns), key=lambda at: rows[at[0]][at[1]])
    return [*lines, f"best: {best}, {column} {rows[best][column]:.2f}"]
