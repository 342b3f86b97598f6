"""Figures of several blocks and poolings beside each other: what tells them apart, and which is best."""

from collections.abc import Collection, Mapping

from mae_probe.extraction.pooling import Part


def flags_of(part: Part, parts: Collection[Part]) -> str:
    """Return the flags, each behind a space, that tell a part from others."""
    block = f" --block {part.block}" if len({other.block for other in parts}) > 1 else ""
    return block + (f" --pool {part.pool}" if len({other.pool for other in parts}) > 1 else "")


def part_name(part: Part, parts: Collection[Part]) -> str:
    """Return what tells a part from others in JSON: the pool, the block, or `BLOCK POOL`."""
    pools, blocks = {other.pool for other in parts}, {other.block for other in parts}
    if len(blocks) == 1:
        return part.pool
    return f"{part.block} {part.pool}" if len(pools) > 1 else str(part.block)


def sweep_lines(
    title: str, figures: Mapping[Part, Mapping[str, float]], others: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Lay figures out as a table, a row for each part, and name the largest.

    Args:
        title: what the figures are.
        figures: by part and column; all have the same columns.
        others: rows to compare with, by name.
    """
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
