"""The sections of curves that the reports of all stages share: what was learnt, and how fast."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mae_core.process.run_log import LOWER_IS_BETTER, spoken_epoch
from mae_core.report.charts import Line, line_chart, merge_short_tail, thin_out
from mae_core.report.page import Section, part
from mae_core.report.run_files import RunFiles
from mae_core.report.sections import duration

if TYPE_CHECKING:
    from markupsafe import Markup

_MACHINE = {  # figure of a record: what it is called, unit of the axis, factor, how to read it
    "images_per_s": (
        "Speed",
        "images/s",
        1.0,
        "Images per second of training alone: validations and looks of the monitor do not count. A fall means that"
        " something else takes the machine.",
    ),
    "data_wait": (
        "Data wait",
        "% of the time",
        100.0,
        "How much of the time training waited for images. Above 20 %, more workers or smaller files help.",
    ),
    "memory_mb": (
        "Memory",
        "MB",
        1.0,
        "The most memory so far: of the GPU where one is used, else of the process. It should be flat after the start.",
    ),
}


def curves(
    run: RunFiles,
    what: str,
    figure: str = "top1",
    said: str = "top-1 {:.2f} %",
    more: Sequence["Markup"] = (),
) -> Section:
    """Draw loss and learning rate of training, and what validation found.

    Args:
        what: the loss in words, as in "cross-entropy".
        figure: the first figure of a validation.
        said: how that is written, with a place for the number.
        more: charts of the stage.
    """
    records = thin_out(merge_short_tail(run.train), ("loss",))
    if not records:
        return Section("Training", [part("paragraph", "Nothing is logged yet.", "note")])
    charts = [_loss(run, records, what), *_validated(run, figure, said), *more, _rate(records)]
    return Section("Training", [part("charts", charts)])


def _loss(run: RunFiles, records: Sequence[Mapping[str, Any]], what: str) -> "Markup":
    lines = [Line("training", [r["epoch"] for r in records], [r["loss"] for r in records])]
    last = run.train[-1]
    caption = (
        f"Training loss, each point a mean over the steps since the one before; the last is {last['loss']:.4f}."
        " In the curve a short last interval is joined with the one before it, by its steps. Look for a steady fall"
        " that flattens towards the end: a flat line from the start, or jumps, ask for another learning rate."
    )
    if held_out := [r for r in run.validation if "val_loss" in r]:
        lines.append(Line("held out", [r["epoch"] for r in held_out], [r["val_loss"] for r in held_out]))
        caption += (
            f" Held out: images that are not trained on, whole and without augmentation; the last is"
            f" {held_out[-1]['val_loss']:.4f}. Where it rises while the training loss falls, the run learns by heart."
        )
    alt = f"Training loss from {records[0]['loss']:.4f} to {last['loss']:.4f}"
    chart = line_chart(lines, "epoch", what, f"{alt} over {spoken_epoch(last['epoch'])} epochs")
    return part("figure", chart, caption)


def _rate(records: Sequence[Mapping[str, Any]]) -> "Markup":
    rates = [r["lr"] for r in records]
    chart = line_chart(
        [Line("learning rate", [r["epoch"] for r in records], rates)],
        "epoch",
        "learning rate",
        f"Learning rate, at most {max(rates):.3g}, at the end {rates[-1]:.3g}",
    )
    return part("figure", chart, f"Learning rate: at most {max(rates):.3g}, now {rates[-1]:.3g}.")


def followed(
    run: RunFiles, lines: Mapping[str, str], axis: str, caption: str, levels: Mapping[str, float] | None = None
) -> list["Markup"]:
    """Draw figures of the validations, where they were logged.

    Args:
        lines: names of figures, and what they are called.
        levels: yardsticks by name; see `line_chart`.
    """
    drawn, ends = [], []
    for name, label in lines.items():
        if scored := [r for r in run.validation if name in r]:
            drawn.append(Line(label, [r["epoch"] for r in scored], [r[name] for r in scored]))
            ends.append(f"{label} from {scored[0][name]:.4g} to {scored[-1][name]:.4g}")
    if not drawn:
        return []
    return [part("figure", line_chart(drawn, "epoch", axis, ", ".join(ends), levels), caption)]


def _validated(run: RunFiles, figure: str, said: str) -> list["Markup"]:
    scored = [r for r in run.validation if figure in r]
    if not scored:
        return []
    best = (min if figure in LOWER_IS_BETTER else max)(scored, key=lambda r: r[figure])
    last, highest = (said.format(r[figure]) for r in (scored[-1], best))
    caption = (
        f"On the validation images: {last} after the last validation, at best"
        f" {highest} after epoch {spoken_epoch(best['epoch'])}. The best was chosen on the images it is measured on,"
        " so the last is the fairer figure."
    )
    return followed(run, {figure: figure}, figure, caption)


def machine(run: RunFiles) -> list[Section]:
    """Draw speed, wait for data and memory over the run, where they were logged."""
    charts = []
    for name, (title, unit, factor, caption) in _MACHINE.items():
        if records := thin_out([r for r in run.train if name in r], (name,)):
            values = [factor * r[name] for r in records]
            alt = f"{title} in {unit}: from {min(values):.4g} to {max(values):.4g}, at the end {values[-1]:.4g}"
            chart = line_chart([Line(title, [r["epoch"] for r in records], values)], "epoch", unit, alt, from_zero=True)
            charts.append(part("figure", chart, f"{title}. {caption}"))
    return [Section("Speed and memory", [part("charts", charts)])] if charts else []


def progress(run: RunFiles) -> str:
    """Say how far a run is and how long it still takes; nothing where its log does not know."""
    last = run.train[-1] if run.train else {}
    if "eta_s" not in last:
        return ""
    starts = run.provenance.get("starts") or [{}]
    place = f"step {last['step']:,}, epoch {spoken_epoch(last['epoch'])}"
    if last["eta_s"] > 0:
        stopped = "Stopped at" if "seconds" in starts[-1] else "At"
        return f"{stopped} {place}; {duration(last['eta_s'])} of training left."
    took = sum(start.get("seconds", 0.0) for start in starts)
    return f"Trained to its end, {place}" + (f", in {duration(took)}." if took else ".")
