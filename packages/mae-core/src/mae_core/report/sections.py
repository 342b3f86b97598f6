"""The sections that the reports of all stages share: curves, bars, confusion, provenance."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mae_core.process.run_log import LOWER_IS_BETTER
from mae_core.report.charts import Bar, Line, line_chart, merge_short_tail
from mae_core.report.page import Section, part
from mae_core.report.run_files import RunFiles

if TYPE_CHECKING:
    from markupsafe import Markup

LARGEST_MATRIX = 25  # classes; above, the pairs that are confused most often are listed
_PAIRS = 20  # that are shown


def curves(run: RunFiles, what: str, figure: str = "top1", said: str = "top-1 {:.2f} %") -> Section:
    """Draw loss and learning rate of training, and what validation found.

    Args:
        what: the loss in words, as in "cross-entropy".
        figure: the first figure of a validation.
        said: how that is written, with a place for the number.
    """
    records = merge_short_tail(run.train)
    if not records:
        return Section("Training", [part("paragraph", "Nothing is logged yet.", "note")])
    epochs = [r["epoch"] for r in records]
    loss = line_chart(
        [Line("training", epochs, [r["loss"] for r in records])],
        "epoch",
        what,
        f"Training loss from {records[0]['loss']:.4g} to {records[-1]['loss']:.4g} over {epochs[-1]:.3g} epochs",
    )
    rate = line_chart(
        [Line("learning rate", epochs, [r["lr"] for r in records])],
        "epoch",
        "learning rate",
        f"Learning rate, at most {max(r['lr'] for r in records):.3g}, at the end {records[-1]['lr']:.3g}",
    )
    body = [
        part("figure", loss, _loss_caption(records)),
        part("figure", rate, _rate_caption(records)),
    ]
    return Section("Training", [*body, *_validated(run, figure, said)])


def _loss_caption(records: Sequence[Mapping[str, Any]]) -> str:
    return (
        f"Training loss, each point a mean over the steps since the one before; the last is {records[-1]['loss']:.4g}."
        " A short last interval is joined with the one before it, by its steps. Look for a steady fall that flattens"
        " towards the end: a flat line from the start, or jumps, ask for another learning rate."
    )


def _rate_caption(records: Sequence[Mapping[str, Any]]) -> str:
    rates = [r["lr"] for r in records]
    if rates[0] < max(rates):
        return "The learning rate rises during warm-up, then falls along half a cosine to its end value."
    return "The learning rate falls along half a cosine to its end value; warm-up, if any, is over at the first point."


def _validated(run: RunFiles, figure: str, said: str) -> list["Markup"]:
    scored = [r for r in run.validation if figure in r]
    if not scored:
        return []
    best = (min if figure in LOWER_IS_BETTER else max)(scored, key=lambda r: r[figure])
    first, last, highest = (said.format(r[figure]) for r in (scored[0], scored[-1], best))
    chart = line_chart(
        [Line(figure, [r["epoch"] for r in scored], [r[figure] for r in scored])],
        "epoch",
        figure,
        f"Validation from {first} to {last}",
    )
    caption = (
        f"On the validation images: {last} after the last validation, at best"
        f" {highest} after epoch {best['epoch']:.3g}. The best was chosen on the images it is measured on,"
        " so the last is the fairer figure."
    )
    return [part("figure", chart, caption)]


def bars_section(title: str, bars: Sequence[Bar], caption: str, more: Sequence["Markup"] = ()) -> Section:
    """Show figures side by side; those of other experiments are marked as such."""
    if any(bar.elsewhere for bar in bars):
        caption += " What is marked with a dashed label was not measured in this run."
    return Section(title, [part("figure", part("bars", bars), caption), *more])


def confusion(run: RunFiles, names: Mapping[int, str], shown: set[tuple[int, int]]) -> Section | None:
    """Show which class was taken for which; None before -eval.

    Args:
        names: of classes.
        shown: pairs (true, predicted) that the gallery shows: their cells are links.
    """
    rows = [[int(cell) for cell in row] for row in run.table("confusion")]
    if not rows:
        return None
    title = "Which class is taken for which"
    labels = [names.get(i) or str(i) for i in range(len(rows))]
    if len(rows) <= LARGEST_MATRIX:
        caption = (
            "Row: what the image is. Column: what it was taken for. Right answers lie on the diagonal; a dark cell"
            " beside it is a confusion that happens often. A number that is a link leads to the images."
        )
        return Section(title, [part("figure", part("confusion", labels, rows, shown), caption)])
    pairs = [(n, t, p) for t, row in enumerate(rows) for p, n in enumerate(row) if n and t != p]
    table = [
        [labels[t], labels[p], n, f"{100 * n / sum(rows[t]):.1f} %"] for n, t, p in sorted(pairs, reverse=True)[:_PAIRS]
    ]
    heads = ["true class", "taken for", "images", "of its images"]
    about = f"The {len(table)} confusions that are most frequent, of {len(rows)} classes"
    body = part("figure", part("table", about, heads, table), "The whole matrix is in eval/confusion.csv.")
    return Section(title, [body])


def provenance(run: RunFiles) -> Section:
    """Describe what made the run: command, versions, commit, machine, seeds, duration, config; folded."""
    starts = run.provenance.get("starts") or []
    body = [_start(number, start, len(starts)) for number, start in enumerate(starts, 1) if isinstance(start, dict)]
    if not starts:
        body = [part("paragraph", "The run has no provenance.json: it was made by an older version.", "note")]
    if run.config_text:
        body.append(part("folded", "Config", part("listing", run.config_text, "config.yaml of the run")))
    return Section("Where this comes from", body, "provenance")


def _start(number: int, start: Mapping[str, Any], count: int) -> "Markup":
    pairs = [("command", start.get("command", "")), ("started", start.get("started", ""))]
    if "seconds" in start:
        pairs += [("ended", start.get("ended", "")), ("duration", _duration(start["seconds"]))]
    else:
        pairs.append(("ended", "not yet, or it was killed"))
    pairs += [("from step", start.get("first_step", 0)), ("ranks", start.get("ranks", 1))]
    pairs.append(("commit", start.get("commit") or "installed from packages"))
    for name in ("seeds", "versions", "machine"):
        pairs.append((name, ", ".join(f"{key} {value}" for key, value in (start.get(name) or {}).items())))
    title = "Command, versions, machine" if count == 1 else f"Start {number} of {count}: command, versions, machine"
    return part("folded", title, part("facts", pairs))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
