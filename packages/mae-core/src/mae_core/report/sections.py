"""The sections that the reports of all stages share: bars, confusion, provenance, and the command that scores."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mae_core.report.charts import Bar
from mae_core.report.page import Section, part
from mae_core.report.run_files import RunFiles

if TYPE_CHECKING:
    from markupsafe import Markup

LARGEST_MATRIX = 25  # classes; above, the pairs that are confused most often are listed
_PAIRS = 20  # that are shown


def bars_section(title: str, bars: Sequence[Bar], caption: str, more: Sequence["Markup"] = ()) -> Section:
    """Show figures side by side; those of other experiments are marked as such."""
    if any(bar.elsewhere for bar in bars):
        caption += " What is marked with a dashed label was not measured in this run."
    return Section(title, [part("figure", part("bars", bars), caption, beside=True), *more])


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
        return Section(title, [part("figure", part("confusion", labels, rows, shown), caption, beside=True)])
    pairs = [(n, t, p) for t, row in enumerate(rows) for p, n in enumerate(row) if n and t != p]
    table = [
        [labels[t], labels[p], n, f"{100 * n / sum(rows[t]):.1f} %"] for n, t, p in sorted(pairs, reverse=True)[:_PAIRS]
    ]
    heads = ["true class", "taken for", "images", "of its images"]
    about = f"The {len(table)} confusions that are most frequent, of {len(rows)} classes"
    body = part("figure", part("table", about, heads, table), "The whole matrix is in eval/confusion.csv.", beside=True)
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
        pairs += [("ended", start.get("ended", "")), ("duration", duration(start["seconds"]))]
    else:
        pairs.append(("ended", "not yet, or it was killed"))
    pairs += [("from step", start.get("first_step", 0)), ("ranks", start.get("ranks", 1))]
    pairs.append(("commit", start.get("commit") or "installed from packages"))
    for name in ("seeds", "versions", "machine"):
        pairs.append((name, ", ".join(f"{key} {value}" for key, value in (start.get(name) or {}).items())))
    title = "Command, versions, machine" if count == 1 else f"Start {number} of {count}: command, versions, machine"
    return part("folded", title, part("facts", pairs))


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    return (f"{minutes // 60} h {minutes % 60:02d}" if minutes >= 60 else f"{minutes}") + f" min {rest:02d} s"


def to_score(text: str, *words: object) -> list["Markup"]:
    """Say what is known once a run is scored, and give the command that scores it."""
    command = shlex.join(map(str, words))
    return [part("paragraph", text, "note"), part("command", command)]
