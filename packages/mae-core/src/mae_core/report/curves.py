"""The points of a run's curves: means over steps, each interval weighted by its steps."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Record = Mapping[str, Any]


def merge_short_tail(records: Sequence[Record], names: Sequence[str] = ("loss",)) -> list[Record]:
    """Join a last interval that is shorter than the others with the one before it, by their steps.

    The mean of a few steps is noisier than that of many: drawn alone, it bends the end of a curve up or down.

    Args:
        records: of one kind in order, each with the `step` that its interval ends after.
        names: figures to average; the others are those of the last interval.
    """
    if len(records) < 3:
        return list(records)
    steps = [record["step"] for record in records]
    lengths = [last - first for first, last in zip([0, *steps], steps, strict=False)]
    (before, length), last = lengths[-2:], records[-1]
    if not 0 < length < median(lengths[:-1]):
        return list(records)
    shares = {"before": before / (before + length), "last": length / (before + length)}
    means = {
        name: records[-2][name] * shares["before"] + last[name] * shares["last"]
        for name in names
        if name in records[-2] and name in last
    }
    return [*records[:-2], {**last, **means}]


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Average with what came before: each value counts `weight` times as much as the one after it.

    Args:
        weight: 0, no smoothing, up to below 1. The first values are not pulled towards zero.
    """
    total, counted, means = 0.0, 0.0, []
    for value in values:
        total, counted = weight * total + value, weight * counted + 1.0
        means.append(total / counted)
    return means
