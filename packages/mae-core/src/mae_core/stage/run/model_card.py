"""`MODEL_CARD.md`: what a run's weights are, for those who receive them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_core.files import write_atomic
from mae_core.process.log import LOGGER
from mae_core.process.run_log import LOWER_IS_BETTER, spoken_epoch
from mae_core.report.run_files import RunFiles, read_run
from mae_core.stage.yardsticks import NAMES

FILE = "MODEL_CARD.md"


@dataclass(frozen=True)
class Card:
    """How a stage describes its models.

    Args:
        title: what they are.
        use: what they are for.
        limits: what they do not do.
        figure: the first figure of a validation; "" where none is scored.
        said: how that figure is written, such as "top-1 {:.2f} %".
    """

    title: str
    use: str
    limits: str
    figure: str = ""
    said: str = ""


_RECIPE = {
    "MODEL": (
        "NAME",
        "TASK",
        "PATCH_SIZE",
        "MASK_RATIO",
        "MASKING",
        "DECODER",
        "NORM_PIX_LOSS",
        "GLOBAL_POOL",
        "HEAD",
        "DROPPATH",
        "ENCODER",
    ),
    "TRAIN": (
        "NUM_EPOCHS",
        "SCHEDULE",
        "ANNEAL",
        "WARMUP_EPOCHS",
        "BASE_LR",
        "WEIGHT_DECAY",
        "LAYER_DECAY",
        "ACCUM_ITER",
        "EMA",
    ),
    "DATA": ("IMAGE_SIZE", "IMAGE_CHANNELS", "BATCH_SIZE", "CROP_SCALE", "HFLIP"),
}


def write_model_card(folder: Path, images: Mapping[str, Any], card: Card, skipped: Sequence[str] = ()) -> None:
    """Write the card of a run that has ended into its folder; where that fails, a warning names it.

    Args:
        images: number and hash of the training images, as checkpoints hold them.
        card: of the stage.
        skipped: lines on those that could not be used, the first on how many.
    """
    try:
        write_atomic(folder / FILE, model_card(read_run(folder), images, card, skipped).encode("utf-8", "replace"))
    except Exception as error:  # the weights are what counts
        LOGGER.warning(f"{folder / FILE} cannot be written ({error})")


def model_card(run: RunFiles, images: Mapping[str, Any], card: Card, skipped: Sequence[str] = ()) -> str:
    """Return a run's model card as Markdown; for the arguments see `write_model_card`."""
    parts = [
        f"# {card.title}: {run.folder.resolve().name}",
        f"Made with the MAE packages for PaddlePaddle (arXiv 2111.06377). {card.use}",
        _section("Data", _data(run, images, skipped)),
        _section("Recipe", [*_recipe(run), "", "All settings: `config.yaml`. Command and machine: `provenance.json`."]),
        _section("Figures", _metrics(run, card)),
        _section("Licence of the start weights", _licence(run)),
        _section("Limits", [card.limits, "It has whatever bias its training images have; they were not examined."]),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines)


def _data(run: RunFiles, images: Mapping[str, Any], skipped: Sequence[str]) -> list[str]:
    data = run.config.get("DATA", {})
    lines = [f"- training: `{data.get('TRAIN_LIST')}` of `{data.get('DATA_PATH')}`"]
    if images:
        lines.append(f"- {images['images']:,} images; SHA-256 of names, order and labels `{images['sha256']}`")
    lines += [f"- {line.removesuffix(':')}" for line in skipped[:1]]
    lines.append(f"- validation: `{data.get('VAL_LIST')}`")
    lines.append("- licence of the images: not known to the program; add it here before passing the weights on")
    return lines


def _recipe(run: RunFiles) -> list[str]:
    rows = [(f"{group}.{key}", run.config.get(group, {}).get(key)) for group, keys in _RECIPE.items() for key in keys]
    shown = [(name, value) for name, value in rows if value is not None]
    return ["| setting | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in shown)]


def _metrics(run: RunFiles, card: Card) -> list[str]:
    lines = []
    if run.train:
        last = run.train[-1]
        epoch = spoken_epoch(last["epoch"])
        lines.append(f"- training loss {last['loss']:.4f} after step {last['step']:,} (epoch {epoch})")
    scored = [r for r in run.validation if card.figure in r]
    if scored:
        by = run.config.get("TRAIN", {}).get("BEST_BY") or card.figure
        best = (min if by in LOWER_IS_BETTER else max)(scored, key=lambda r: r.get(by, 0.0))
        at_end, at_best = (card.said.format(r[card.figure]) for r in (scored[-1], best))
        lines.append(f"- validation {at_end} at the end")
        chosen = "" if by == card.figure else f" by {by}"
        lines.append(f"- best validation {at_best} (step {best['step']:,}), chosen{chosen} on these images")
    lines += [*_logistic(run), *_knn(run)]
    return lines or ["- none were logged"]


def _logistic(run: RunFiles) -> list[str]:
    """Return what logistic regression reached with a classifier's labels, where it was measured."""
    found = run.yardsticks.get("logistic", {})
    said = ", ".join(f"{NAMES[name]} {top1:.2f} %" for name, top1 in found.items())
    return [f"- beside it, top-1 of logistic regression with the same labels: {said}"] if said else []


def _knn(run: RunFiles) -> list[str]:
    """Return what the monitor last saw kNN find in the features, and without training, where it did."""
    last = next((record for record in reversed(run.validation) if "knn_raw_pixels" in record), None)
    if last is None:
        return []
    names = {"top1": "this model", "random_init": "random init", "raw_pixels": "raw pixels"}
    cells = [[last.get(f"knn_{column}{name}") for column in ("", "whitened_")] for name in names]
    rows = [
        [said, *("-" if x is None else f"{x:.2f}" for x in row)]
        for said, row in zip(names.values(), cells, strict=True)
    ]
    head = [["kNN among training images, held-out top-1 %", "mean tokens", "whitened"], ["---"] * 3]
    return ["", *(f"| {' | '.join(row)} |" for row in [*head, *rows])]


def _licence(run: RunFiles) -> list[str]:
    starts = [start for start in run.provenance.get("starts", []) if isinstance(start, dict)]
    sources = list(dict.fromkeys(str(start["weights"]) for start in starts if start.get("weights")))
    if not sources:
        return ["None: the weights were trained from random ones, so no licence of other weights applies."]
    return [
        f"Started from `{'`, `'.join(sources)}`: what their licence demands holds for these weights too.",
        "Weights that the authors of MAE published are CC BY-NC 4.0: not for commercial use. Of a run's own weights,",
        "see the `MODEL_CARD.md` beside them.",
    ]
