"""Weights of a pre-training run, or of a fine-tuned model, into a classifier, with a report on every key."""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from mae_core.checkpoint import find_weights, load_arrays, model_arrays, read_state
from mae_core.errors import CheckpointError
from mae_core.models import VisionTransformer
from mae_core.models.patches import pair
from mae_core.models.pos_embed import resize_pos_embed

_STARTS_ANEW = ("head.", "fc_norm.", "norm.")  # what a pre-trained encoder may lack


@dataclass
class KeyReport:
    """What became of each key of a weight file.

    Attributes:
        loaded, missing, unexpected: names; missing ones keep their initial values, unexpected ones are left out.
        resized: name and what was done to it.
    """

    file: Path
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        resized = ", ".join(f"{name} {how}" for name, how in self.resized.items()) or "none"
        return (
            f"{self.file}: {len(self.loaded)} loaded; missing, so initialised: {_shorten(self.missing)};"
            f" unexpected, so left out: {_shorten(self.unexpected)}; resized: {resized}"
        )


def _shorten(names: list[str]) -> str:
    """List names by their first part, with how many there are of it."""
    parts = Counter(name.split(".")[0] for name in sorted(names))
    return ", ".join(part if count == 1 else f"{part} ({count})" for part, count in parts.items()) or "none"


def load_pretrained(path: str | Path, model: VisionTransformer) -> KeyReport:
    """Load an encoder into a classifier; head and last norm start anew where the file has no fitting ones.

    Args:
        path: run folder, checkpoint folder or .safetensors file (suffix optional).

    Raises:
        CheckpointError: there is nothing to read, or the file is not an encoder of this model's sizes.
    """
    file, arrays = _read(path)
    own = model_arrays(model)
    report = KeyReport(file)
    _fit_positions(arrays, model, report)
    if "head.weight" in arrays and arrays["head.weight"].shape != own.get("head.weight", np.empty(0)).shape:
        report.unexpected += [name for name in arrays if name.startswith("head.")]  # of another set of classes
    report.unexpected += [name for name in arrays if name not in own]
    report.loaded = [name for name in arrays if name in own and name not in report.unexpected]
    report.missing = [name for name in own if name not in report.loaded]
    required = [name for name in own if not name.startswith(_STARTS_ANEW)]
    taken = {name: arrays[name] for name in report.loaded}
    kept = {name: own[name] for name in report.missing if name not in required}
    load_arrays(model, taken | kept, str(file))
    return report


def load_exactly(path: str | Path, model: VisionTransformer) -> KeyReport:
    """Load a whole classifier, for evaluation: every name and shape must fit; positions may be resized.

    Raises:
        CheckpointError: there is nothing to read, or the model is another one.
    """
    file, arrays = _read(path)
    if "head.weight" not in arrays:
        raise CheckpointError(f"{file} has no classification head, so there is nothing to score; fine-tune it first")
    report = KeyReport(file, loaded=list(arrays))
    _fit_positions(arrays, model, report)
    load_arrays(model, arrays, str(file))
    return report


def _read(path: str | Path) -> tuple[Path, dict[str, np.ndarray]]:
    file = find_weights(Path(path))
    try:
        return file, load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} is not a readable .safetensors file ({error})") from None


def _fit_positions(arrays: dict[str, np.ndarray], model: VisionTransformer, report: KeyReport) -> None:
    """Resize the position embedding to the model's image size."""
    values = arrays.get("pos_embed")
    if values is None or values.ndim != 3 or values.shape[2] != model.embed_dim:
        return
    old = _grid(report.file, values.shape[1] - 1)
    if old != model.grid:
        arrays["pos_embed"] = resize_pos_embed(values, old, model.grid)
        report.resized["pos_embed"] = f"{old[0]}x{old[1]} -> {model.grid[0]}x{model.grid[1]}"


def _grid(file: Path, patches: int) -> tuple[int, int]:
    """Find out the grid of a file's positions: from the config beside it, else it is square."""
    if (file.parent / "state.json").exists():
        config = read_state(file.parent)["config"]
        height, width = pair(config["DATA"]["IMAGE_SIZE"])
        size = config["MODEL"]["PATCH_SIZE"]
        return height // size, width // size
    side = math.isqrt(patches)
    if side * side != patches:
        raise CheckpointError(
            f"{file}: {patches} positions are no square, and no state.json beside it says the image size;"
            " give the checkpoint folder"
        )
    return side, side
