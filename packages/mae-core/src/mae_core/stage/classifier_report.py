"""The page of a run that trained a classifier, which fine-tuning and probing share."""

import shlex
from collections.abc import Callable, Mapping, Sequence

from mae_core.evaluation.class_figures import spoken
from mae_core.report.charts import Bar
from mae_core.report.curves import curves, machine, progress
from mae_core.report.gallery import Draw, ScoredImages, drawing, if_drawable, mistakes, read_predictions
from mae_core.report.page import Page, Section, part
from mae_core.report.run_files import RunFiles, read_run
from mae_core.report.sections import LARGEST_MATRIX, bars_section, confusion, provenance, to_score
from mae_core.stage.cli.report_command import Compared, read_compared
from mae_core.stage.config.from_run import path_of_run
from mae_core.stage.yardsticks import MOST_IMAGES, NAMES

CAPTION = (
    "Share of the validation images whose likeliest class is the right one. Longer is better; what counts is the"
    " distance to the other bars, of which chance is what guessing one of the classes would give."
)

_LOGISTIC = (
    " Logistic regression was fitted to the same labels before the first step: to the features of the network as it was"
    " then (frozen features) or of one with random weights (random init), and to the images, scaled down to at most 32"
    " pixels a side (raw pixels)."
)

_CLASSES = (
    "Precision: of the images taken for the class, how many are of it. Recall: of its images, how many are found. F1 is"
    " high where both are. Percent; no precision where nothing was taken for the class."
)
_BY_CLASS = ["precision", "recall", "f1"]


def classifier_page(
    folder: str,
    kind: str,
    program: str,
    compare: Sequence[str],
    open_images: Callable[[], ScoredImages],
    more: Sequence[Section] = (),
) -> Page:
    """Put the page of a classifier together.

    Args:
        folder: of the run.
        kind: what was done, as in "Fine-tuning".
        program: command that did it.
        compare: figures of other runs, `NAME=RUN|PERCENT`.
        open_images: opens the validation list, once an image of it is drawn.
        more: sections of the stage, before the provenance.

    Raises:
        UserError: there is no run, or another run has no accuracy.
    """
    run, compared = read_run(folder), [read_compared(word) for word in compare]
    classes = int(run.config.get("MODEL", {}).get("NUM_CLASSES", 0))
    scores, source = _scores(run)
    source = f"{source} {progress(run)}"
    names = {int(row[0]): row[1] for row in run.table("per_class")[1:]}
    sections = [
        *_bars(run, scores, compared, classes),
        *_classes(run, scores, names),
        curves(run, "cross-entropy"),
        *_confusions(run, names, drawing(open_images), program),
        *more,
        *machine(run),
        provenance(run),
    ]
    return Page(f"{kind}: {run.folder.name}", _headline(run, scores, compared), source, sections)


def _scores(run: RunFiles) -> tuple[Mapping[str, float], str]:
    """Return the figures to name, and where they are from."""
    classes = run.config.get("MODEL", {}).get("NUM_CLASSES", "?")
    if "top1" in run.scores:
        scored = run.scores.get("images", "all")
        return run.scores, f"Measured by -eval on {scored:,} images of {classes} classes."
    if run.validation:
        return run.validation[-1], f"The last validation of the run, {classes} classes; -eval measures it apart."
    return {}, "The run has not been validated; -eval measures it."


def _headline(run: RunFiles, scores: Mapping[str, float], compared: Sequence[Compared]) -> str:
    if "top1" not in scores:
        return "No accuracy yet"
    others = "".join(f", {other.value:.1f} % {other.name}" for other in compared)
    name, top1 = _best_logistic(run)
    if top1 > scores["top1"]:
        others += f", {top1:.1f} % by logistic regression on {name}"
    return f"{scores['top1']:.1f} % of the images classified correctly{others}"


def _bars(run: RunFiles, scores: Mapping[str, float], compared: Sequence[Compared], classes: int) -> list[Section]:
    if "top1" not in scores:
        return []
    logistic = run.yardsticks.get("logistic", {})
    bars = [Bar("this run", scores["top1"] / 100, f"{scores['top1']:.2f} %", ours=True)]
    bars += [Bar(other.name, other.value / 100, f"{other.value:.2f} %", elsewhere=other.source) for other in compared]
    bars += [Bar(f"logistic, {NAMES[name]}", top1 / 100, f"{top1:.2f} %") for name, top1 in logistic.items()]
    if classes:
        bars.append(Bar("chance", 1 / classes, f"{100 / classes:.2f} %"))
    caption, which = CAPTION + (_LOGISTIC if logistic else ""), part("paragraph", _which(run, scores["top1"]), "note")
    return [bars_section("The result beside others", bars, caption, [which])]


def _best_logistic(run: RunFiles) -> tuple[str, float]:
    """Return the name and the accuracy of what logistic regression did best on; 0 where it was not measured."""
    logistic = run.yardsticks.get("logistic", {})
    return max(((NAMES[name], top1) for name, top1 in logistic.items()), key=lambda each: each[1], default=("", 0.0))


def _which(run: RunFiles, top1: float) -> str:
    """Say in a sentence whether to take this run or logistic regression, or how to ask."""
    name, best = _best_logistic(run)
    if not name:
        return (
            "What logistic regression reaches with the same labels was not measured: that is done where a run begins"
            f" with at most {MOST_IMAGES:,} training images (fewer beyond 50 classes), on one process, and scikit-learn"
            " is installed. To ask now:"
            f" {_logistic_command(run)}"
        )
    labels = f"with the same {run.yardsticks['train_images']:,} labels"
    if best > top1:
        return (
            f"Logistic regression on {name} is {best - top1:.1f} points better {labels}: take it instead of this run"
            f" ({_logistic_command(run)})."
        )
    return f"This run is {top1 - best:.1f} points better than logistic regression on {name} {labels}: take this run."


def _logistic_command(run: RunFiles) -> str:
    """Return the command that gives the figure of `yardsticks.json`: the run's config lends what stages share."""
    data, model = run.config.get("DATA", {}), run.config.get("MODEL", {})
    weights, own = model.get("PRETRAINED"), {"DATA.CROP_PCT": data.get("CROP_PCT")}
    own |= {f"MODEL.{key}": model.get(key) for key in ("GLOBAL_POOL", "CHANNELS_FROM")}
    words = ["mae-probe", "logistic", "-cfg", str(run.folder / "config.yaml")]
    words += ["-pretrained", path_of_run(run.folder, weights)] if weights else ["--random-init"]
    stated = str(data.get("DATA_PATH"))
    if (found := path_of_run(run.folder, stated)) != stated:
        words += ["-data_path", found]
    return shlex.join([*words, *(word for key, value in own.items() if value for word in (key, str(value)))])


def _classes(run: RunFiles, scores: Mapping[str, float], names: dict[int, str]) -> list[Section]:
    """Return what counts each class alike; of many classes, those of the lowest F1."""
    if not (means := spoken(scores)):
        return []  # scored by an older version
    head, *rows = run.table("per_class") or [[]]
    text = f"{means} (percent). Each class counts alike here, however few images it has."
    body = [part("paragraph", text)]
    if head[-len(_BY_CLASS) :] == _BY_CLASS:
        used = sorted((row for row in rows if row[-1]), key=lambda row: float(row[-1]))[:LARGEST_MATRIX]
        table = [[names[int(row[0])] or row[0], row[2], *(cell[:-2] for cell in row[-3:])] for row in used]
        figures = part("table", "Lowest F1 first", ["class", "images", *_BY_CLASS], table)
        body.append(part("figure", figures, _CLASSES, beside=True))
    return [Section("Each class by itself", body)]


def _confusions(run: RunFiles, names: dict[int, str], draw: Draw, program: str) -> list[Section]:
    """Return the matrix and the gallery it links to, or why the images cannot be shown, or how to get them."""
    nothing: tuple[Section | None, set[tuple[int, int]]] = None, set()
    (gallery, shown), notes = if_drawable(lambda: mistakes(read_predictions(run), names, draw), nothing)
    matrix = confusion(run, names, shown)
    if matrix is None:
        text = "Which class is taken for which, and the images of the mistakes, are shown once the run is scored:"
        words = (program, "-eval", "-pretrained", run.folder, "-output", run.folder)
        return [Section("Mistakes", to_score(text, *words))]
    matrix = Section(matrix.title, [*matrix.body, *notes])
    return [matrix, gallery] if gallery else [matrix]
