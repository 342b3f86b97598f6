"""`MODEL_CARD.md`: what a run's weights are, for whoever gets them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_core.files import write_atomic
from mae_core.process.log import LOGGER
from mae_core.report.run_files import RunFiles, read_run

FILE = "MODEL_CARD.md"

_KINDS = {
    "PRETRAIN": ("Masked autoencoder, pre-trained", "Features for fine-tuning, probing and retrieval, and inpainting."),
    "FINETUNE": (
        "Classifier, fine-tuned from a masked autoencoder",
        "Classification into its classes.",
    ),
    "LINEARPROBE": (
        "Probe of a masked autoencoder's features",
        "Measuring the features.",
    ),
}
_RECIPE = {
    "MODEL": (
        "NAME",
        "PATCH_SIZE",
        "MASK_RATIO",
        "MASKING",
        "NORM_PIX_LOSS",
        "GLOBAL_POOL",
        "HEAD",
        "DROPPATH",
        "ENCODER",
    ),
    "TRAIN": ("NUM_EPOCHS", "WARMUP_EPOCHS", "BASE_LR", "WEIGHT_DECAY", "LAYER_DECAY", "ACCUM_ITER", "EMA"),
    "DATA": ("IMAGE_SIZE", "IMAGE_CHANNELS", "BATCH_SIZE", "CROP_SCALE", "HFLIP"),
}
_LIMITS = {
    "PRETRAIN": "It predicts pixels, not classes. What it fills in is plausible, not true: it is no evidence of what a"
    " hidden part of an image shows.",
    "FINETUNE": "It knows its classes only and gives one of them for any image; its probabilities are not calibrated."
    " Accuracy on other kinds of images than the validation list's is unknown until it is measured (-eval).",
    "LINEARPROBE": "It knows its classes only and gives one of them for any image. Its accuracy judges the features;"
    " fine-tuning reaches more.",
}


def write_model_card(folder: Path, images: Mapping[str, Any]) -> None:
    """Write the card of a run that has ended into its folder; where that fails, a warning names it.

    Args:
        images: number and hash of the training images, as checkpoints hold them.
    """
    try:
        write_atomic(folder / FILE, model_card(read_run(folder), images).encode("utf-8", "replace"))
    except Exception as error:  # the weights are what counts
        LOGGER.warning(f"{folder / FILE} cannot be written ({error})")


def model_card(run: RunFiles, images: Mapping[str, Any]) -> str:
    """Return a run's model card as Markdown.

    Args:
        images: number and hash of the training images, as checkpoints hold them.
    """
    kind = str(run.config.get("MODEL", {}).get("TYPE", "PRETRAIN"))
    title, use = _KINDS[kind]
    parts = [
        f"# {title}: {run.folder.resolve().name}",
        f"Made with the MAE packages for PaddlePaddle (arXiv 2111.06377). {use}",
        _section("Data", _data(run, images)),
        _section("Recipe", [*_recipe(run), "", "All settings: `config.yaml`. Command and machine: `provenance.json`."]),
        _section("Figures", _metrics(run)),
        _section("Licence of the start weights", _licence(run)),
        _section("Limits", [_LIMITS[kind], "It has whatever bias its training images have; they were not examined."]),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines)


def _data(run: RunFiles, images: Mapping[str, Any]) -> list[str]:
    data = run.config.get("DATA", {})
    lines = [f"- training: `{data.get('TRAIN_LIST')}` of `{data.get('DATA_PATH')}`"]
    if images:
        lines.append(f"- {images['images']:,} images; SHA-256 of names, order and labels `{images['sha256']}`")
    lines.append(f"- validation: `{data.get('VAL_LIST')}`")
    lines.append("- licence of the images: not known to the program; add it here before passing the weights on")
    return lines


def _recipe(run: RunFiles) -> list[str]:
    rows = [(f"{group}.{key}", run.config.get(group, {}).get(key)) for group, keys in _RECIPE.items() for key in keys]
    shown = [(name, value) for name, value in rows if value is not None]
    return ["| setting | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in shown)]


def _metrics(run: RunFiles) -> list[str]:
    lines = []
    if run.train:
        last = run.train[-1]
        lines.append(f"- training loss {last['loss']:.4f} after step {last['step']:,} (epoch {last['epoch']:.4g})")
    scored = [r for r in run.validation if "top1" in r]
    if scored:
        by = run.config.get("TRAIN", {}).get("BEST_BY") or "top1"
        best = (min if by == "val_loss" else max)(scored, key=lambda r: r.get(by, 0.0))
        lines.append(f"- validation top-1 {scored[-1]['top1']:.2f} % at the end")
        chosen = "" if by == "top1" else f" by {by}"
        lines.append(
            f"- best validation top-1 {best['top1']:.2f} % (step {best['step']:,}), chosen{chosen} on these images"
        )
    return lines or ["- none were logged"]


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
