"""The page of a segmentation run."""

from collections.abc import Sequence
from typing import Any

from mae_core.errors import UserError
from mae_core.report.charts import Bar
from mae_core.report.curves import curves, machine, progress
from mae_core.report.page import Page, Section, part
from mae_core.report.pictures import picture_of
from mae_core.report.run_files import RunFiles, read_run
from mae_core.report.sections import bars_section, confusion, provenance, to_score
from mae_finetune.segmentation.scoring import MOSAIC

_MOST = 40  # classes with a bar
_CAPTION = (
    "Intersection over union of each class over all validation pixels, in percent: the pixels that are rightly found,"
    " of those that are of the class or were taken for it. Longer is better. The mean counts each class alike, however"
    " few pixels it has."
)
_MOSAIC_CAPTION = (
    "Images spread over the validation list: the image, its mask, what the model says, and in red where the two differ."
    " White pixels are not scored. Look for borders that are off by a few pixels, and for things that are missed whole."
)


def segmentation_page(folder: str, compare: Sequence[str]) -> Page:
    """Put the page of a run together.

    Args:
        compare: figures of other runs, `NAME=RUN|PERCENT` of mIoU.

    Raises:
        UserError: there is no run, or another run has no mIoU.
    """
    run = read_run(folder)
    others = [_compared(word) for word in compare]
    scores, source = _scores(run)
    names = {int(row[0]): row[1] for row in run.table("per_class")[1:]}
    matrix = confusion(run, names, set())
    sections = [
        *_bars(scores, others),
        *_classes(scores),
        *_mosaic(run),
        curves(run, "cross-entropy", "miou", "mIoU {:.2f} %"),
        *([matrix] if matrix else []),
        *machine(run),
        provenance(run),
    ]
    return Page(f"Segmentation: {run.folder.name}", _headline(scores, others), f"{source} {progress(run)}", sections)


def _compared(word: str) -> Bar:
    name, _, source = word.partition("=")
    if not name or not source:
        raise UserError(f"--compare {word} is not NAME=RUN or NAME=PERCENT")
    try:
        return _bar(name, float(source), elsewhere="given by hand")
    except ValueError:
        scores, _ = _scores(read_run(source))
    if "miou" not in scores:
        raise UserError(f"--compare {word}: {source} has no mIoU yet; score it with -eval")
    return _bar(name, scores["miou"], elsewhere=f"run {source}")


def _bar(label: str, percent: float, ours: bool = False, elsewhere: str = "") -> Bar:
    return Bar(label, percent / 100, f"{percent:.2f} %", ours, elsewhere)


def _scores(run: RunFiles) -> tuple[dict[str, Any], str]:
    """Return the figures to name, and where they are from."""
    if "miou" in run.scores:
        return run.scores, f"Measured by -eval on all pixels of {run.scores.get('images', 'all'):,} images."
    if run.validation:
        return run.validation[-1], "The last validation of the run; -eval measures it apart, class by class."
    return {}, "The run has not been validated; -eval measures it."


def _headline(scores: dict[str, Any], others: Sequence[Bar]) -> str:
    if "miou" not in scores:
        return "No mIoU yet"
    return f"mIoU {scores['miou']:.1f} %" + "".join(f", {bar.text} {bar.label}" for bar in others)


def _bars(scores: dict[str, Any], others: Sequence[Bar]) -> list[Section]:
    if "miou" not in scores:
        return []
    bars = [_bar("mIoU of this run", scores["miou"], ours=True), *others]
    beside = f"Pixel accuracy {scores['pixel_accuracy']:.2f} %, class accuracy {scores['class_accuracy']:.2f} %."
    return [bars_section("The result", bars, f"Mean over the classes that occur. {beside}")]


def _classes(scores: dict[str, Any]) -> list[Section]:
    each = [(value, name) for name, value in (scores.get("iou") or {}).items() if value is not None]
    if not each:
        return []
    each.sort(key=lambda pair: -pair[0])
    shown, caption = each, _CAPTION
    if len(each) > _MOST:
        shown = each[: _MOST // 2] + each[-_MOST // 2 :]
        caption += f" Of {len(each)} classes, the {_MOST // 2} best and worst; all are in eval/per_class.csv."
    return [bars_section("Each class", [_bar(name, value, ours=True) for value, name in shown], caption)]


def _mosaic(run: RunFiles) -> list[Section]:
    path = run.folder / "eval" / MOSAIC
    if not path.is_file():
        text = "Images, masks and mistakes are drawn once the run is scored:"
        words = ("mae-finetune", "-eval", "-pretrained", run.folder, "-output", run.folder)
        return [Section("What it sees", to_score(text, *words))]
    alt = "Rows of an image, its mask, the prediction and the mistakes, with the colours of the classes below"
    return [Section("What it sees", [part("figure", picture_of(path, alt), _MOSAIC_CAPTION)])]
