"""The page of a run that is scored by figures other than accuracy."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mae_core.errors import UserError
from mae_core.report.curves import curves, machine, progress
from mae_core.report.gallery import drawing
from mae_core.report.page import Page, Section, part
from mae_core.report.run_files import RunFiles, read_run
from mae_core.report.sections import provenance, to_score
from mae_core.stage.run.model_card import Card
from mae_finetune.build import scored_images
from mae_finetune.tasks.worst_images import RowsSaid, Worst, worst_images

_ROWS = 50  # of a table that are shown


def figures_page(
    folder: str,
    compare: Sequence[str],
    card: Card,
    spoken: Mapping[str, str],
    table: str,
    loss: str,
    worst: Callable[[RowsSaid], Worst],
) -> Page:
    """Put the page of a run together.

    Args:
        folder: of the run.
        compare: other runs, `NAME=RUN`.
        card: of the task; its figure is the headline.
        spoken: how figures are said.
        table: name of the table in `eval/` with a line for each label or number.
        loss: what the curve of the loss is called.
        worst: finds the images that the model is most wrong about.

    Raises:
        UserError: there is no run, or one to compare has not been scored.
    """
    run = read_run(folder)
    scores, source = _scores(run, card.figure)
    others = [(name, _scores(read_run(other), card.figure)[0]) for name, other in map(_named_run, compare)]
    if missing := [name for name, found in others if not found]:
        raise UserError(f"--compare {missing[0]}: it has no {card.figure} yet; score it with -eval")
    sections = [
        *_beside([("this run", scores), *others], spoken),
        *_each(run, table),
        *worst_images(run, worst, drawing(partial(scored_images, folder))),
        *_unscored(run),
        curves(run, loss, card.figure, card.said),
        *machine(run),
        provenance(run),
    ]
    headline = card.said.format(scores[card.figure]) if scores else "Not scored yet"
    return Page(f"Fine-tuning: {run.folder.name}", headline, f"{source} {progress(run)}", sections)


def _named_run(word: str) -> tuple[str, str]:
    name, _, run = word.partition("=")
    if not name or not run:
        raise UserError(f"--compare {word} is not NAME=RUN")
    return name, run


def _scores(run: RunFiles, figure: str) -> tuple[dict[str, float], str]:
    """Return the figures to name, and where they are from."""
    if figure in run.scores:
        return run.scores, f"Measured by -eval on {run.scores['images']:,} images."
    if scored := [record for record in run.validation if figure in record]:
        return scored[-1], "The last validation of the run; -eval measures it apart."
    return {}, "The run has not been validated; -eval measures it."


def _beside(runs: Sequence[tuple[str, Mapping[str, float]]], spoken: Mapping[str, str]) -> list[Section]:
    rows = [[name, *(_short(scores.get(figure)) for figure in spoken)] for name, scores in runs if scores]
    if not rows:
        return []
    caption = (
        "Means over what is said of each image. What ends in _of_mean is the error of saying the training mean of every"
        " image; in _of_chance, what an order by chance gives."
    )
    head = ["run", *spoken]
    return [Section("The result beside others", [part("figure", part("table", "Figures", head, rows), caption)])]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _unscored(run: RunFiles) -> list[Section]:
    if run.table("predictions"):
        return []
    text = "The images that the model is most wrong about are shown once the run is scored:"
    words = ("mae-finetune", "-eval", "-pretrained", run.folder, "-output", run.folder)
    return [Section("Worst predictions", to_score(text, *words))]


def _each(run: RunFiles, table: str) -> list[Section]:
    head, *rows = run.table(table) or [[]]
    if not rows:
        return []
    body = part("figure", part("table", "One by one", head, rows[:_ROWS]), f"All of them are in eval/{table}.csv.")
    return [Section("Each by itself", [body])]
