"""What is said of images, for people and for programs."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

from mae_data.images.windows import Window


class Said(Protocol):
    """What is said of one image; a dataclass.

    Attributes:
        image: its path, or its place in the input.
        window: the part of the image that it is said of; None: all.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def image(self) -> str: ...

    @property
    def window(self) -> Window | None: ...

    def line(self) -> str:
        """Return it as a line for people."""

    def rows(self) -> Iterable[Sequence[object]]:
        """Return its lines of the table, without image and window."""


def printable(text: str) -> str:
    """Keep what would steer a terminal out of it: names come from files."""
    return text if text.isprintable() else ascii(text)


def where(said: Said) -> str:
    """Name the image, and the window of it."""
    place = f" row {said.window.row} column {said.window.column}" if said.window else ""
    return f"{printable(said.image)}{place}"


def as_json(predictions: Iterable[Said]) -> list[dict[str, Any]]:
    """Return predictions as plain values; those of whole images have no window."""
    values = [asdict(prediction) for prediction in predictions]
    return [{key: value for key, value in said.items() if key != "window" or value} for said in values]


def as_csv(columns: Sequence[str], predictions: Sequence[Said]) -> str:
    """Return a table: image, of windows row, column, height and width, and the columns of `rows`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    place = ["row", "column", "height", "width"] if predictions and predictions[0].window else []
    writer.writerow(["image", *place, *columns])
    for said in predictions:
        at = [said.image, *(said.window.box if said.window else ())]
        writer.writerows([*at, *row] for row in said.rows())
    return text.getvalue()
