"""The gallery of the images that a model of labels or numbers is most wrong about."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mae_core.report.gallery import GROUPS, TILES, Draw, Group, if_drawable
from mae_core.report.page import Section, part
from mae_core.report.run_files import RunFiles
from mae_finetune.tasks.row_scores import THRESHOLD


@dataclass(frozen=True)
class RowsSaid:
    """What `eval/predictions.csv` holds of n images.

    Attributes:
        indices: their places in the list.
        images: their paths.
        names: of each of T labels or numbers.
        true, said: float64 [n, T]; of labels, what is said is their probability.
    """

    indices: Sequence[int]
    images: Sequence[str]
    names: Sequence[str]
    true: NDArray[np.float64]
    said: NDArray[np.float64]


@dataclass(frozen=True)
class WrongImages:
    """Images that are wrong in one way.

    Attributes:
        title: in which.
        rows: which images, the worst first.
        words: what is said of each.
    """

    title: str
    rows: Sequence[int]
    words: Sequence[str]


@dataclass(frozen=True)
class Worst:
    """What a gallery shows, and how it is ordered, in words."""

    text: str
    wrong: Sequence[WrongImages]


def worst_images(run: RunFiles, find: Callable[[RowsSaid], Worst], draw: Draw) -> list[Section]:
    """Show the images that a model is most wrong about; nothing before -eval, and where nothing is wrong."""
    said = _read(run)
    if said is None:
        return []
    worst = find(said)
    shown = [group for group in worst.wrong if len(group.rows)][:GROUPS]
    nothing: list[Group] = []
    groups, notes = if_drawable(lambda: [_draw(said, group, draw) for group in shown], nothing)
    body = [*notes, part("paragraph", worst.text), part("gallery", groups)] if groups else notes
    return [Section("Worst predictions", body)] if body else []


def _read(run: RunFiles) -> RowsSaid | None:
    head, *rows = run.table("predictions") or [[]]
    if not rows:
        return None
    values = np.array([row[2:] for row in rows], np.float64)  # [n, 2 T], true and said in turn
    names = [word.removeprefix("true_") for word in head[2::2]]
    return RowsSaid([int(row[0]) for row in rows], [row[1] for row in rows], names, values[:, ::2], values[:, 1::2])


def _draw(said: RowsSaid, wrong: WrongImages, draw: Draw) -> Group:
    tiles = [
        replace(draw(said.indices[i], said.images[i], wrong.title), label=f"{words}, {said.images[i]}")
        for i, words in zip(wrong.rows[:TILES], wrong.words, strict=False)
    ]
    return Group(wrong.title, tiles, len(wrong.rows) - len(tiles))


def wrong_labels(said: RowsSaid) -> Worst:
    """Find the images that lack a label that they have, or have one that is not theirs; the surest mistakes first."""
    wrong = sorted(_missed_and_added(said), key=lambda group: -len(group.rows))
    text = (
        "Labels by how often they are missed, or said of images without them; the surest mistakes come first: a wrong"
        " label of the data set shows here early. The number is the probability of the label."
    )
    return Worst(text, wrong)


def _missed_and_added(said: RowsSaid) -> Iterator[WrongImages]:
    for name, has, probability in zip(said.names, said.true.T > 0, said.said.T, strict=True):
        found, order = probability >= THRESHOLD, np.argsort(probability, kind="stable")
        missed, added = order[(has & ~found)[order]], order[(~has & found)[order]][::-1]
        for title, rows in ((f"{name}, missed", missed), (f"{name}, which it is not", added)):
            yield WrongImages(title, rows.tolist(), [f"{probability[row]:.1%}" for row in rows])


def far_numbers(said: RowsSaid) -> Worst:
    """Find the images of which a number is furthest from the truth."""
    wrong = []
    for name, true, told in zip(said.names, said.true.T, said.said.T, strict=True):
        rows = np.argsort(-np.abs(told - true), kind="stable")[:TILES].tolist()
        wrong.append(WrongImages(name, rows, [f"said {told[row]:.4g}, is {true[row]:.4g}" for row in rows]))
    text = "Number by number, the images furthest from the truth: a wrong number of the data set shows here early."
    return Worst(text, wrong)
