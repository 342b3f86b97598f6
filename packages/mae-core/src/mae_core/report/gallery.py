"""Galleries: the images that a model was most wrong about, drawn from the list that was scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.report.page import Section, part
from mae_core.report.pictures import Tile, tile
from mae_core.report.run_files import RunFiles

if TYPE_CHECKING:
    from markupsafe import Markup

GROUPS, TILES = 20, 6  # of a gallery, and of a group, that are shown
Draw = Callable[[int, str, str], Tile]  # (place in the list, path, what it shows) -> its picture
Drawn = TypeVar("Drawn")


class ScoredImages(Protocol):
    """The validation list of a run, as pictures."""

    def path(self, index: int) -> str:
        """Return an image's path as the list names it; empty beyond its end."""

    def picture(self, index: int) -> NDArray[np.uint8]:
        """Return an image as [H, W, 1 or 3]."""


@dataclass(frozen=True)
class Group:
    """Pictures under a heading.

    Args:
        more: how many there are beside them.
        anchor: its name for links; empty: none.
    """

    title: str
    tiles: Sequence[Tile]
    more: int = 0
    anchor: str = ""


def drawing(open_images: Callable[[], ScoredImages]) -> Draw:
    """Make the function that draws an image of the validation list, which is opened once one is drawn."""
    images = cache(open_images)

    def draw(index: int, path: str, alt: str) -> Tile:
        if images().path(index) != path:
            raise UserError("the validation list is not the one that was scored; score the run anew with -eval")
        return tile(images().picture(index), alt)

    return draw


def if_drawable(make: Callable[[], Drawn], otherwise: Drawn) -> tuple[Drawn, list["Markup"]]:
    """Return what is made of images; where they cannot be read, `otherwise` and a note that says why."""
    try:
        return make(), []
    except Exception as error:
        if not hasattr(error, "exit_code"):  # which errors have that a user can mend, those of mae_data too
            raise
        return otherwise, [part("paragraph", f"The images of the mistakes cannot be shown: {error}", "note")]


@dataclass(frozen=True)
class PredictedImage:
    """A line of `eval/predictions.csv`."""

    index: int
    image: str
    true: int
    predicted: int
    probability: float


def read_predictions(run: RunFiles) -> list[PredictedImage]:
    """Return what -eval wrote of each image; none where it has not run."""
    rows = run.table("predictions")[1:]
    return [PredictedImage(int(r[0]), r[1], int(r[2]), int(r[3]), float(r[4])) for r in rows]


def mistakes(
    predictions: Sequence[PredictedImage], names: Mapping[int, str], draw: Draw
) -> tuple[Section | None, set[tuple[int, int]]]:
    """Show wrongly classified images by pair of classes; None where there are none.

    Returns:
        the section, and the pairs (true, predicted) in it.
    """
    wrong: dict[tuple[int, int], list[PredictedImage]] = {}
    for p in predictions:
        if p.true != p.predicted:
            wrong.setdefault((p.true, p.predicted), []).append(p)
    pairs = sorted(wrong, key=lambda pair: (-len(wrong[pair]), pair))[:GROUPS]
    if not pairs:
        return None, set()
    groups = [_group(pair, wrong[pair], names, draw) for pair in pairs]
    total = sum(map(len, wrong.values()))
    text = (
        f"{total} of {len(predictions)} images are classified wrongly. Pairs of classes by how often they are confused;"
        " within a pair the surest mistakes come first: a wrong label of the data set shows here early."
    )
    body = [part("paragraph", text), part("gallery", groups)]
    return Section("Mistakes", body, "mistakes"), set(pairs)


def _group(pair: tuple[int, int], wrong: list[PredictedImage], names: Mapping[int, str], draw: Draw) -> Group:
    true, predicted = (names.get(c) or str(c) for c in pair)
    surest = sorted(wrong, key=lambda p: -p.probability)[:TILES]
    tiles = [
        replace(draw(p.index, p.image, f"{true}, taken for {predicted}"), label=f"{p.probability:.0%} sure, {p.image}")
        for p in surest
    ]
    return Group(f"{true} taken for {predicted}", tiles, len(wrong) - len(tiles), f"mistake-{pair[0]}-{pair[1]}")
