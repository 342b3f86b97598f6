"""`mae-pretrain report` and `watch`: the page of a pre-training run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mae_core.errors import UserError
from mae_core.process.run_log import spoken_epoch
from mae_core.report.charts import Bar
from mae_core.report.curves import curves, followed, machine, progress
from mae_core.report.page import Page, Section, part
from mae_core.report.pictures import tile
from mae_core.report.run_files import RunFiles, read_run
from mae_core.report.sections import bars_section, provenance, to_score
from mae_core.stage.config.from_run import load_run
from mae_core.weights.load import load_model
from mae_data.errors import DataError
from mae_pretrain.build import build_model, eval_dataset, masking_note
from mae_pretrain.config import RECIPE
from mae_pretrain.monitor.strips import strips
from mae_pretrain.visualize import COLUMNS, SHOWN, masked_columns

if TYPE_CHECKING:
    from markupsafe import Markup

_YARDSTICKS = {"mae": "this model", "inpainting": "inpainting", "mean_image": "mean image"}
_GIVEN = {"patch_mean": "true patch mean"}  # of models that are given it
WHY_INPAINTING = (
    "Inpainting fills a removed patch with a mean of the visible patches around it. It can do worse than the mean"
    " image: where most patches are removed, few and far ones are left to average, and it does not know what usually"
    " stands at a place. The mean training image knows that and nothing else, which is much where all images are"
    " centred alike, as digits or faces are; on photographs of anything it is little."
)
_KNN = {"knn_top1": "mean tokens", "knn_whitened_top1": "whitened mean tokens"}
_UNTRAINED = {  # what has to be beaten, as the monitor's records name it
    "knn_raw_pixels": "raw pixels",
    "knn_random_init": "random weights",
    "knn_whitened_random_init": "random weights, whitened",
}
_KNN_CAPTION = (
    "What features are worth: percent of the held-out images that their nearest training images name rightly."
)
_UNWATCHED = (
    "Not known. With MONITOR.EVERY 5 a run logs held-out loss, kNN and RankMe every 5 epochs, and draws the same images"
    " each time. It may be switched on where a run goes on (-resume)."
)
_RANKME_CAPTION = (
    "RankMe, the effective rank of the held-out images' features: 1 is collapse, the encoder's width the most. It needs"
    " no labels."
)


def run_page(folder: str, images: int = 6, scores: str | None = None) -> Page:
    """Put the page of a run together.

    Args:
        images: validation images to reconstruct; 0 loads no model.
        scores: JSON file of -eval; RUN/eval/scores.json by default.

    Raises:
        UserError: there is no run, or the file cannot be read.
    """
    run = read_run(folder)
    found = _read_scores(scores) if scores else run.scores
    model = run.config.get("MODEL", {})
    lede = (
        f"{model.get('NAME', 'a masked autoencoder')}, {_ratio(model.get('MASK_RATIO', 0.75))} of the patches removed."
    )
    what, sections = "loss of removed patches", [_errors(run, found)]
    if images > 0:
        sections.append(reconstructions(folder, images))
    if model.get("TYPE") == "REFINE":  # an encoder alone, which predicts no pixels
        lede, what, sections = f"{model.get('NAME', 'an encoder')}, refined.", "loss of the heads", []
    if not run.validation and not run.config.get("MONITOR", {}).get("EVERY"):
        sections.append(Section("What the features are worth", [part("paragraph", _UNWATCHED, "note")]))
    sections += [*strips(run), curves(run, what, more=_features(run)), *machine(run), provenance(run)]
    return Page(f"Pre-training: {run.folder.name}", _headline(run, found), f"{lede} {progress(run)}", sections)


def _ratio(ratio: float) -> str:
    return f"{100 * ratio:g} %"


def _read_scores(file: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--scores {file} cannot be read ({error}); give what -eval --json wrote") from None
    if not isinstance(found, dict) or not _YARDSTICKS.keys() <= found.keys():
        raise UserError(f"--scores {file} lacks {', '.join(_YARDSTICKS)}; give what mae-pretrain -eval --json wrote")
    return found


def _headline(run: RunFiles, scores: dict[str, Any]) -> str:
    if scores.keys() >= _YARDSTICKS.keys() | _GIVEN.keys():
        share = 100 * scores["mae"] / scores["patch_mean"]
        return f"Removed pixels are predicted with {share:.0f} % of the error of each patch's true mean, which is given"
    if scores.keys() >= _YARDSTICKS.keys() and not run.config.get("MODEL", {}).get("NORM_PIX_LOSS"):
        share = 100 * scores["mae"] / scores["mean_image"]
        return f"Removed pixels are predicted with {share:.0f} % of the mean image's error"
    if run.train:
        last, train = run.train[-1], run.config.get("TRAIN", {})
        ended = train.get("ANNEAL") or last.get("eta_s") == 0  # NUM_EPOCHS may be between two steps
        whole = "" if ended else f" of {spoken_epoch(train.get('NUM_EPOCHS', 0))}"
        return f"Loss {last['loss']:.4f} after {spoken_epoch(last['epoch'])}{whole} epochs"
    return "The run has logged nothing yet"


def _errors(run: RunFiles, scores: dict[str, Any]) -> Section:
    title = "How well removed pixels are predicted"
    if not scores.keys() >= _YARDSTICKS.keys():
        text = "Errors beside yardsticks are shown once the run is scored:"
        file = run.folder / "eval/scores.json"
        return Section(title, to_score(text, "mae-pretrain", "-eval", "-pretrained", run.folder, "--json", file))
    labels = {name: label for name, label in (_YARDSTICKS | _GIVEN).items() if name in scores}
    largest = max(scores[name] for name in labels)
    bars = [
        Bar(label, scores[name] / largest, f"{scores[name]:#.3g}", ours=name == "mae") for name, label in labels.items()
    ]
    caption = (
        "Mean squared error of the removed pixels, which are 0 to 1. Shorter is better: a model that has learnt"
        " something beats the yardsticks, which need no training."
    )
    if "patch_mean" in scores:
        caption += (
            " This model is given the mean and the deviation of each true patch: what counts is how far it is below the"
            " true patch mean; the other two are given nothing."
        )
    caption += f" Measured on {scores.get('images', 0):,.0f} validation images."
    return bars_section(title, bars, caption, [part("folded", "Why inpainting can be worse than the mean image",
                                                    part("paragraph", WHY_INPAINTING))])  # fmt: skip


def _features(run: RunFiles) -> list["Markup"]:
    """Draw what the monitor found in the features, where it looked."""
    last = run.validation[-1] if run.validation else {}
    levels = {label: last[name] for name, label in _UNTRAINED.items() if name in last}
    beaten = " Level lines need no training: features that are not above them yet need more of it." if levels else ""
    return [
        *followed(run, _KNN, "kNN, % right", _KNN_CAPTION + beaten, levels),
        *followed(run, {"rankme": "RankMe"}, "RankMe", _RANKME_CAPTION),
    ]


def reconstructions(folder: str, count: int) -> Section:
    """Reconstruct images of the validation list with the newest weights; say why where that cannot be done."""
    try:
        return Section("Reconstructions", [_grid(folder, count)])
    except (UserError, DataError) as error:
        return Section("Reconstructions", [part("paragraph", f"None are shown: {error}", "note")])


def _grid(folder: str, count: int) -> "Markup":
    config = load_run(RECIPE, folder)
    dataset = eval_dataset(config)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int))
    pixels = np.stack([dataset[int(i)][0] for i in chosen])
    model = build_model(config)
    load_model(folder, model)
    model.eval()
    columns = masked_columns(config, model, pixels, chosen)
    heads = [COLUMNS[i] for i in SHOWN]
    names = [dataset.images.path(int(i)) for i in chosen]
    rows = [
        [tile(columns[i][row], f"{name}: {COLUMNS[i]}") for i in SHOWN] for row, name in enumerate(names)
    ]  # fmt: skip
    caption = (
        f"Validation images, {_ratio(config.MODEL.MASK_RATIO)} of their patches removed{masking_note(config)}. Right,"
        " the visible patches are put back into the prediction. Compare left and right: outlines and large shapes"
        " should agree, fine detail is smoothed away."
    )
    if model.norm_pix_loss:
        caption += (
            " Trained with norm_pix_loss: each predicted patch is given the true patch's mean and deviation, so these"
            " pictures look better than what the model alone knows."
        )
    return part("figure", part("columns", heads, rows, twice=len(rows) > 1), caption)
