"""What figures of features stand beside: those of the same encoder with random weights, and of raw pixels."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from mae_core.process.command_line import Parser

if TYPE_CHECKING:
    from mae_probe.extraction.pooling import Part

Value = TypeVar("Value")

_HELP = "leave out what is shown beside: raw pixels, and the same of random weights, which takes one more pass"


def add_yardsticks(parser: Parser) -> None:
    """Declare --no-yardsticks."""
    parser.add_argument("--no-yardsticks", action="store_true", help=_HELP)


def split_parts(found: Mapping[Part, Value]) -> tuple[dict[Part, Value], dict[Part, Value], Value | None]:
    """Tell what was found apart -> of the features in question, of random weights, of raw pixels (None: not asked)."""
    from mae_probe.extraction.pooling import PIXELS

    of_encoder = {part: value for part, value in found.items() if part.pool != PIXELS}
    own = {part: value for part, value in of_encoder.items() if not part.random_init}
    beside = {part: value for part, value in of_encoder.items() if part.random_init}
    return own, beside, next((value for part, value in found.items() if part.pool == PIXELS), None)


def comparison_lines(title: str, found: Mapping[Part, Mapping[str, float]], args: Namespace) -> list[str]:
    """Lay out what was found as a table, raw pixels and the best of random weights last, and say if those do better.

    Args:
        title: what the figures are.
        found: by part and column; all have the same columns.
        args: of the command.

    Returns:
        no line where there is nothing to compare.
    """
    from mae_probe.extraction.pooling import flags_of

    own, beside, pixels = split_parts(found)
    others: dict[str, Mapping[str, float]] = {}
    if beside:
        best = max(beside, key=lambda part: max(beside[part].values()))
        others[f"random init{flags_of(best, beside)}"] = beside[best]
    if pixels:
        others["raw pixels"] = pixels
    if len(own) == 1 and not others:
        return []
    lines = sweep_lines(title, own, others, "random init" if args.random_init else "these features")
    highest = max(value for figures in own.values() for value in figures.values())
    better = [name for name, figures in others.items() if max(figures.values()) > highest]
    if better:
        lines.append(f"{' and '.join(better)} did better than these features: {_advice(args)}")
    return lines


def _advice(args: Namespace) -> str:
    """Return what may be tried where a yardstick did better; `docs/small_data.md` has what each was worth."""
    flags = {"--whiten": getattr(args, "whiten", True), "--pool grid2": args.pool}
    untried = " ".join(flag for flag, given in flags.items() if not given)
    return f"try {untried}, or pre-train longer" if untried else "pre-train longer"


def sweep_lines(
    title: str, figures: Mapping[Part, Mapping[str, float]], others: Mapping[str, Mapping[str, float]], alone: str = ""
) -> list[str]:
    """Lay figures out as a table, a row for each part, and name the largest of several.

    Args:
        title: what the figures are.
        figures: by part and column; all have the same columns.
        others: rows to compare with, by name.
        alone: what the part is called where it is the only one.
    """
    from mae_probe.extraction.pooling import flags_of

    rows = {flags_of(part, figures).strip() or alone: values for part, values in figures.items()}
    columns = list(next(iter(rows.values())))
    width = max(map(len, (title, *rows, *others)))
    lines = [title.ljust(width) + "".join(f"{column:>9}" for column in columns)]
    lines += [
        name.ljust(width) + "".join(f"{values[column]:9.2f}" for column in columns)
        for name, values in {**rows, **others}.items()
    ]
    if len(rows) == 1:
        return lines
    best, column = max(((name, column) for name in rows for column in columns), key=lambda at: rows[at[0]][at[1]])
    return [*lines, f"best: {best}, {column} {rows[best][column]:.2f}"]
