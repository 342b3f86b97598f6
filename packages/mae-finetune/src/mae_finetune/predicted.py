"""What is said of images, for people and for programs."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Protocol


class Said(Protocol):
    """What is said of one image; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def line(self) -> str:
        """Say it for people."""

    def rows(self) -> Iterable[Sequence[object]]:
        """Return its lines of the table."""


def printable(text: str) -> str:
    """Keep what would steer a terminal out of it: names come from files."""
    return text if text.isprintable() else ascii(text)


def as_json(said: Iterable[Said]) -> list[dict[str, Any]]:
    """Return predictions as plain values; those of whole images have no window."""
    return [{key: value for key, value in asdict(one).items() if key != "window" or value} for one in said]


def as_csv(columns: Sequence[str], said: Iterable[Said]) -> str:
    """Return predictions as a table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for one in said:
        writer.writerows(one.rows())
    return text.getvalue()
