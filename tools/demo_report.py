"""The demo's report: one HTML file with everything in it, to open or to send."""

import base64
import csv
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mae_core.run_log import read_log

LEARNING_CURVE = Path(__file__).with_name("results") / "learning_curve.png"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2733 }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
img, svg { max-width: 100%; height: auto } table { border-collapse: collapse }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #d5dbe1; text-align: right; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
.confusion td, .confusion th { text-align: center; border: 0; min-width: 1.6rem; padding: .3rem }
.note { color: #5a6673 }
"""


def write_report(run: Path, results: dict[str, Any]) -> Path:
    """Write `run/report.html` from the demo's runs and figures; returns its path."""
    accuracy, errors = results["accuracy"], results["reconstruction_mse"]
    names = list(next(iter(accuracy.values())))
    sections = [
        "<h1>Masked autoencoder on handwritten digits</h1>",
        _note("1,347 digits for training, 450 held out, 32x32 grey; the scans are 8x8. Pre-training sees no label."),
        "<h2>What pre-training is worth</h2>",
        _table(
            ["held-out top-1 accuracy, %", *names],
            ([way, *(f"{row[name]:.1f}" for name in names)] for way, row in accuracy.items()),
        ),
        _note("One seed. Random init: the same model before any training; fine-tuned, it is training from scratch."),
        _accuracy_curve(run),
        "<h2>Over more pre-training, three seeds</h2>",
        _picture(LEARNING_CURVE),
        "<h2>Reconstructions</h2>",
        _table(["mean squared error of removed pixels, 0 to 1", ""], ([n, f"{e:.4f}"] for n, e in errors.items())),
        _picture(run / "reconstruction.png"),
        "<h2>What the class token attends to</h2>",
        *(_picture(path) for path in sorted((run / "attention").glob("*.png"))),
        "<h2>Confusion, fine-tuned with 10 labels per class</h2>",
        _confusion(run / "finetune" / "eval" / "confusion.csv"),
        _note("Row: the digit; column: what it was taken for."),
        "<h2>Pre-training loss</h2>",
        *(_picture(run / name / "loss.png") for name in ("features", "pixels")),
        _note(f"The demo took {results['seconds']} s. The numbers: results.json beside this file."),
    ]  # fmt: skip
    page = "\n".join(["<!doctype html>", '<html lang="en"><meta charset="utf-8"><title>MAE on digits</title>',
                      f"<style>{_STYLE}</style>", *sections, "</html>", ""])  # fmt: skip
    path = run / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></p>'


def _accuracy_curve(run: Path) -> str:
    """Draw both fine-tuning runs' accuracies over epochs, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for name, label in (("finetune", "from MAE"), ("scratch", "from scratch")):
        records = read_log(run / name / "log.jsonl", "validation")
        axes.plot([r["epoch"] for r in records], [r["top1"] for r in records], label=label)
    axes.set(xlabel="epoch of fine-tuning, 10 labels per class", ylabel="held-out top-1, %", ylim=(None, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]


def _confusion(file: Path) -> str:
    """Shade a table of counts by the share of its row."""
    rows = [[int(cell) for cell in row] for row in csv.reader(file.read_text().splitlines())]
    head = "".join(f"<th>{digit}</th>" for digit in range(len(rows)))
    lines = [f"<tr><th></th>{head}</tr>"]
    for digit, row in enumerate(rows):
        cells = "".join(_shaded(count, count / max(sum(row), 1)) for count in row)
        lines.append(f"<tr><th>{digit}</th>{cells}</tr>")
    return f'<table class="confusion">{"".join(lines)}</table>'


def _shaded(count: int, share: float) -> str:
    colour = "#fff" if share > 0.5 else "inherit"
    return f'<td style="background: rgb(37 99 235 / {share:.2f}); color: {colour}">{count or ""}</td>'
