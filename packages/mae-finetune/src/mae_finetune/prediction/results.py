"""What is said of images, for people and for programs."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Guess:
    """A class, its name (its number where nobody knows names), and the probability that the model gives it."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What is said of one image: its path, or its place in the input, and the likeliest classes, the best first.

    Attributes:
        window: the part of the image that it is said of; None: all.
    """

    image: str
    guesses: tuple[Guess, ...]
    window: Window | None = None

    def line(self) -> str:
        """Return it as a line for people."""
        guesses = (f"{printable(guess.name)} {guess.probability:.4f}" for guess in self.guesses)
        return f"{where(self)}: {', '.join(guesses)}"

    def rows(self) -> Iterator[Sequence[object]]:
        """Return a line for each class: rank from 1, label, name, probability.

        Examples:
            >>> list(Prediction("a.jpg", (Guess(1, "cat", 0.75), Guess(0, "dog", 0.25))).rows())
            [[1, 1, 'cat', '0.75'], [2, 0, 'dog', '0.25']]
        """
        for rank, guess in enumerate(self.guesses, 1):
            yield [rank, guess.label, guess.name, f"{guess.probability:.6g}"]


def as_json(predictions: Iterable[Said]) -> list[dict[str, object]]:
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
