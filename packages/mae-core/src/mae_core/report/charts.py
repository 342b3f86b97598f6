"""Line charts as SVG whose colours are the style sheet's, so that they follow dark mode and print; and their points."""

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from mae_core.errors import UserError
from mae_core.report.page import needed, part

if TYPE_CHECKING:
    from markupsafe import Markup

# Stand-ins that the drawing library writes into the SVG, and the variables of the style sheet that replace them.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#110101": "var(--one)",
    "#110202": "var(--two)",
    "#110303": "var(--three)",
    "#110404": "var(--four)",
}
_SERIES = ("#110101", "#110202", "#110303", "#110404")
_MARKED = 25  # points that are few enough to be seen one by one
_DASHES = ("-", "--", "-.", ":")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mae",  # the same chart, the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": "#010101",
    "axes.labelcolor": "#010101",
    "axes.edgecolor": "#020202",
    "xtick.color": "#020202",
    "ytick.color": "#020202",
    "xtick.labelcolor": "#010101",
    "ytick.labelcolor": "#010101",
    "grid.color": "#030303",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A line of a chart: the same number of x and y values."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Bar:
    """A bar of a bar chart.

    Args:
        share: length, 0 to 1 of the width.
        text: the value as people read it.
        ours: whether it is what the report is about.
        elsewhere: of which other experiment the figure is; empty where it is this run's.
    """

    label: str
    share: float
    text: str
    ours: bool = False
    elsewhere: str = ""


def line_chart(
    lines: Sequence[Line],
    xlabel: str,
    ylabel: str,
    alt: str,
    levels: Mapping[str, float] | None = None,
    from_zero: bool = False,
) -> "Markup":
    """Draw lines over one x axis.

    Args:
        alt: what the chart shows, for those who do not see it.
        levels: yardsticks by name, each a horizontal line.
        from_zero: whether the y axis begins at 0.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(needed()) from None
    with rc_context(_STYLE):
        labels = len(lines) + len(levels or {})
        figure = Figure(figsize=(4.8, 2.5 + 0.2 * (labels > 1) * -(-labels // 2)), layout="constrained")
        axes = figure.add_subplot()
        for number, line in enumerate(lines):
            marker = "o" if len(line.x) <= _MARKED else ""
            style, colour = _DASHES[number % 4], _SERIES[number % 4]
            axes.plot(line.x, line.y, style, label=line.label, color=colour, marker=marker, ms=3.5, lw=1.6)
        for number, (label, level) in enumerate((levels or {}).items()):
            axes.axhline(level, label=label, color="#020202", linestyle=_DASHES[(3 - number) % 4], linewidth=1.3)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if from_zero:
            axes.set_ylim(0, 1.1 * max(max(line.y) for line in lines) or 1)
        axes.grid(linewidth=0.6)
        if labels > 1:
            figure.legend(frameon=False, loc="outside upper left", ncols=2)
        figure.draw_without_rendering()  # room is made for labels of ticks, which must not change after that
        low, high = axes.get_ylim()
        axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return part("drawing", _as_markup(text.getvalue(), alt), alt)


def _as_markup(svg: str, alt: str) -> "Markup":
    """Take the SVG element alone, with colours of the page and names that no other chart of the page has."""
    from markupsafe import Markup

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for stand_in, variable in _COLOURS.items():
        svg = svg.replace(stand_in, variable)
    prefix = f"c{zlib.crc32((alt + svg).encode()):x}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    return Markup(svg)


def merge_short_tail(records: Sequence[Record], names: Sequence[str] = ("loss",)) -> list[Record]:
    """Join a last interval that is shorter than the others with the one before it, by their steps.

    The mean of a few steps is noisier than that of many: drawn alone, it bends the end of a curve up or down.

    Args:
        records: of one kind in order, each with the `step` that its interval ends after.
        names: figures to average; the others are those of the last interval.
    """
    if len(records) < 3:
        return list(records)
    steps = [record["step"] for record in records]
    lengths = [last - first for first, last in zip([0, *steps], steps, strict=False)]
    (before, length), last = lengths[-2:], records[-1]
    if not 0 < length < median(lengths[:-1]):
        return list(records)
    shares = {"before": before / (before + length), "last": length / (before + length)}
    means = {
        name: records[-2][name] * shares["before"] + last[name] * shares["last"]
        for name in names
        if name in records[-2] and name in last
    }
    return [*records[:-2], {**last, **means}]


def thin_out(records: Sequence[Record], names: Sequence[str], most: int = 300) -> list[Record]:
    """Average neighbours until at most so many are left: a page draws no more than a screen shows.

    Args:
        names: figures to average; the others are those of the last neighbour.
    """
    size = -(-len(records) // most)
    groups = [records[i : i + size] for i in range(0, len(records), size)] if records else []
    return [
        {**group[-1], **{name: fmean(r[name] for r in group) for name in names if all(name in r for r in group)}}
        for group in groups
    ]


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Average with what came before: each value counts `weight` times as much as the one after it.

    Args:
        weight: 0, no smoothing, up to below 1. The first values are not pulled towards zero.
    """
    total, counted, means = 0.0, 0.0, []
    for value in values:
        total, counted = weight * total + value, weight * counted + 1.0
        means.append(total / counted)
    return means
