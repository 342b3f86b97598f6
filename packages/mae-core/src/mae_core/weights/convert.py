"""Convert weights from any source to any target, with NumPy only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_core.errors import CheckpointError, UserError
from mae_core.weights.architecture import Architecture
from mae_core.weights.formats.shards import fingerprint
from mae_core.weights.key_report import join_names
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.metadata import STATED, Metadata, checked_metadata
from mae_core.weights.sources import Weights, find_file, read_weights
from mae_core.weights.targets import choose_target, write_weights


@dataclass(frozen=True)
class Conversion:
    """What was converted; `left_out` are tensors the target has no place for or nobody knows."""

    file: Path
    source: str
    destination: Path
    target: str
    tensors: int
    left_out: list[str]
    remarks: list[str]

    def lines(self) -> list[str]:
        """Return lines on it for people."""
        lines = [f"{self.file} ({self.source}) -> {self.destination} ({self.target}), {self.tensors} tensors"]
        if self.left_out:
            lines.append(f"left out: {join_names(self.left_out)}")
        return lines + self.remarks


def convert(
    source_path: str | Path,
    destination: str | Path,
    *,
    source: str = "auto",
    target: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> Conversion:
    """Convert a weight file; values are copied bit for bit (bfloat16 becomes float32).

    Args:
        source_path: see `sources.find_file`.
        destination: file, or folder for `huggingface`.
        source: a name of `layouts.LAYOUTS`, or `auto`.
        target: a name of `layouts.LAYOUTS`, or `auto`: by the destination's suffix.
        settings: what the source does not record of the model (`metadata.STATED`).

    Raises:
        CheckpointError: the source is missing, damaged or refused, or the target cannot express it.
        UserError: the arguments do not fit.
    """
    path = Path(destination)
    if unknown := set(settings or ()) - set(STATED):
        raise UserError(f"setting {min(unknown)!r} is not known; use {', '.join(STATED)}")
    stated = checked_metadata(settings or {})
    chosen = choose_target(path, target)
    file = find_file(Path(source_path))
    if path.exists() and file.resolve() in (path.resolve(), (path / "model.safetensors").resolve()):
        raise UserError(f"{path} is the source itself; write to another place")
    weights = read_weights(file, source)
    model, remarks = _architecture(weights, stated)
    origin = {"source": f"{weights.source} {file.name}", "source_sha256": fingerprint(file)}
    cautions = LAYOUTS[chosen].cautions(model) if model else []
    left_out = write_weights(path, chosen, weights.arrays, model, origin)
    written = len(weights.arrays.keys() - left_out)
    return Conversion(
        file,
        weights.source,
        path,
        chosen,
        written,
        [*weights.unknown, *left_out],
        [*weights.remarks, *remarks, *cautions, *_not_kept(path, model)],
    )


def _not_kept(path: Path, model: Architecture | None) -> list[str]:
    """List what the header of a safetensors file would hold and this one has no place for."""
    if model is None or path.suffix not in (".pth", ".pdparams"):
        return []
    named = {
        "pixel statistics": model.pixel_mean,
        "the value range": model.value_range,
        f"the names of {model.num_classes} classes": model.class_names,
    }
    lost = [words for words, value in named.items() if value is not None]
    return [f"{path.suffix} has no place for {join_names(lost)}; .safetensors keeps them"] if lost else []


def _architecture(weights: Weights, stated: Metadata) -> tuple[Architecture | None, list[str]]:
    """Derive the architecture; weights of other models (a head alone) still move between our own formats."""
    if "cls_token" not in weights.arrays:
        return None, ["no ViT with a class token: the header names no architecture"]
    try:
        return weights.architecture(stated), []
    except CheckpointError as error:
        raise CheckpointError(f"{weights.file}: {error}") from None
