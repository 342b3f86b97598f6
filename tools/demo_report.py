"""The demo's report: one HTML file with everything in it, to open or to send."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from digits import PER_CLASS
from mae_core.process import log
from mae_core.process.runtime import import_paddle
from mae_core.report.charts import Bar, Line, line_chart, merge_short_tail
from mae_core.report.gallery import Draw, mistakes, read_predictions
from mae_core.report.page import Page, Section, part, render
from mae_core.report.pictures import Tile, picture_of, tile
from mae_core.report.run_files import RunFiles, read_run
from mae_core.report.sections import bars_section, confusion, provenance

if TYPE_CHECKING:
    from markupsafe import Markup

LEARNING_CURVE = Path(__file__).with_name("results") / "learning_curve.png"
DIGITS_SHOWN = 8  # reconstructions
FEW = f"fine-tuning, {PER_CLASS} labels per class"
ABOUT = (
    "1,347 handwritten digits for training, 450 held out, 32x32 grey; the scans are 8x8. Pre-training sees no label."
    " One seed. Random init is the same model before any training; fine-tuned, it is training from scratch."
)


@dataclass(frozen=True)
class Results:
    """What the demo measured: errors of reconstruction, top-1 in % by way and start, and the seconds that it took."""

    reconstruction_mse: dict[str, float]
    accuracy: dict[str, dict[str, float]]
    seconds: int


def write_report(run: Path, results: Results) -> Path:
    """Write `run/report.html` from the demo's runs and figures; returns its path."""
    import_paddle()  # quietly, before what needs it
    log.setup()
    from mae_probe.report import attention

    accuracy, errors = results.accuracy, results.reconstruction_mse
    tuned, pixels = read_run(run / "finetune"), read_run(run / "pixels")
    names = {digit: str(digit) for digit in range(10)}
    gallery, shown = mistakes(read_predictions(tuned), names, _drawing(tuned))
    sections = [
        _accuracies(accuracy, _accuracy_chart(run)),
        _errors(errors, run),
        attention(str(run / "probe"), 3),
        confusion(tuned, names, shown),
        gallery,
        _training(run),
        _elsewhere(),
        provenance(pixels),
    ]
    best = accuracy[FEW]
    headline = (
        f"{best['MAE']:.1f} % with {PER_CLASS} labels per class, {best['random init']:.1f} % without pre-training"
    )
    lede = f"{ABOUT} The demo took {results.seconds} s; the numbers are in results.json beside this file."
    page = Page("Masked autoencoder on handwritten digits", headline, lede, [s for s in sections if s])
    path = run / "report.html"
    path.write_text(render(page), encoding="utf-8")
    return path


def _accuracies(accuracy: dict[str, dict[str, float]], chart: "Markup") -> Section:
    bars = [
        Bar(f"{way}: {name}", value / 100, f"{value:.1f} %", ours=name == "MAE")
        for way, row in accuracy.items()
        for name, value in row.items()
    ]
    caption = (
        "Held-out top-1 accuracy. Each pair of bars is the same classifier on the pre-trained model (blue) and on its"
        " random start (grey): the difference is what pre-training is worth."
    )
    return bars_section("What pre-training is worth", bars, caption, [chart])


def _accuracy_chart(run: Path) -> "Markup":
    lines = []
    for name, label in (("finetune", "from MAE"), ("scratch", "from scratch")):
        records = read_run(run / name).validation
        lines.append(Line(label, [r["epoch"] for r in records], [r["top1"] for r in records]))
    alt = "Held-out accuracy over the epochs of fine-tuning, " + ", ".join(
        f"{x.label} ends at {x.y[-1]:.1f}" for x in lines
    )
    chart = line_chart(lines, "epoch of fine-tuning", "held-out top-1, %", alt)
    caption = f"Both with {PER_CLASS} labels per class: the distance between the lines is what pre-training is worth."
    return part("figure", chart, caption, beside=True)


def _errors(errors: dict[str, float], run: Path) -> Section:
    from mae_pretrain.report import WHY_INPAINTING, reconstructions

    largest = max(errors.values())
    bars = [Bar(name, e / largest, f"{e:.4f}", ours=name == "MAE") for name, e in errors.items()]
    caption = "Mean squared error of removed pixels, 0 to 1. Shorter is better; the yardsticks need no training."
    why = part("folded", "Why inpainting can be worse than the mean image", part("paragraph", WHY_INPAINTING))
    return bars_section(
        "Reconstructions", bars, caption, [why, *reconstructions(str(run / "pixels"), DIGITS_SHOWN).body]
    )


def _drawing(run: RunFiles) -> Draw:
    root = Path(run.config["DATA"]["DATA_PATH"])

    def draw(index: int, path: str, alt: str) -> Tile:
        with Image.open(root / path) as image:
            return tile(np.asarray(image.convert("L"))[..., None], alt)

    return draw


def _training(run: Path) -> Section:
    lines = []
    for name, label in (("features", "normalised pixels"), ("pixels", "plain pixels")):
        records = merge_short_tail(read_run(run / name).train)
        lines.append(Line(label, [r["epoch"] for r in records], [r["loss"] for r in records]))
    alt = "Pre-training loss over epochs, " + ", ".join(f"{x.label} ends at {x.y[-1]:.3f}" for x in lines)
    caption = "The two losses have different units and cannot be compared; both should fall and flatten."
    chart = line_chart(lines, "epoch", "loss", alt)
    return Section("Pre-training loss", [part("figure", chart, caption, beside=True)])


def _elsewhere() -> Section:
    caption = (
        "Accuracy over the steps of pre-training, mean of three seeds: what longer pre-training brings. Recorded once"
        " with tools/learning_curve.py; nothing of it is of this run."
    )
    picture = picture_of(LEARNING_CURVE, "Accuracy rises with the steps of pre-training, above training from scratch")
    return Section("Over more pre-training", [part("figure", picture, caption, "a wider model, three seeds, an hour")])
