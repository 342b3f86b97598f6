"""Checking the labels of a source that has no lines to name."""

import numpy as np

from mae_data.errors import DataError
from mae_data.sources.source import NO_LABEL, Source

SHOWN = 10


def require_labels(source: Source, labels: str, num_classes: int | None) -> None:
    """Require labels of a source where they are needed, and below the number of classes.

    Args:
        source: the source.
        labels: "required" or "optional".
        num_classes: when given, labels must be below it.

    Raises:
        DataError: some are not; all are counted and the first ten named.
    """
    missing = source.labels < 0 if labels == "required" else source.labels < NO_LABEL
    bad = missing if num_classes is None else missing | (source.labels >= num_classes)
    places = np.flatnonzero(bad)
    if not len(places):
        return
    allowed = f"0 to {num_classes - 1}" if num_classes is not None else "0 and above"
    shown = [f"{source.describe(int(i))}: {_label(int(source.labels[i]))}" for i in places[:SHOWN]]
    if len(shown) == 1:
        raise DataError(f"{shown[0]}; allowed are {allowed}")
    note = f", the first {SHOWN} are" if len(places) > SHOWN else ""
    raise DataError(f"{source.name}: {len(places)} images have no label from {allowed}{note}:\n  " + "\n  ".join(shown))


def _label(label: int) -> str:
    return "no label" if label == NO_LABEL else f"label {label}"
