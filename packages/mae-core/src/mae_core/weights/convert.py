"""Convert weights from any source to any target, with NumPy only; a file or folder is whole or not there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mae_core.errors import CheckpointError, UserError
from mae_core.files import replace_atomic, write_atomic
from mae_core.weights.architecture import Architecture, decoder_kind_of
from mae_core.weights.formats.paddle_file import pdparams_bytes
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.formats.shards import fingerprint
from mae_core.weights.formats.torch_writer import write_torch
from mae_core.weights.huggingface import FILE, preprocessor_text
from mae_core.weights.key_report import join_names
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.metadata import STATED, Metadata, checked_metadata
from mae_core.weights.parameter_names import Layout
from mae_core.weights.sources import Weights, find_file, read_weights
from mae_core.weights.translate import Arrays, from_ours


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
    chosen = _choose_target(path, target)
    file = find_file(Path(source_path))
    if path.exists() and file.resolve() in (path.resolve(), (path / "model.safetensors").resolve()):
        raise UserError(f"{path} is the source itself; write to another place")
    weights = read_weights(file, source)
    _refuse_cross_decoder(weights, chosen)
    model, remarks = _architecture(weights, stated)
    origin = {"source": f"{weights.source} {file.name}", "source_sha256": fingerprint(file)}
    cautions = LAYOUTS[chosen].cautions(model) if model else []
    left_out = _write(path, chosen, weights.arrays, model, origin)
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


def _refuse_cross_decoder(weights: Weights, target: str) -> None:
    """Refuse to name the blocks of a cross-attention decoder as those of a model that has none."""
    is_cross, has_a_place = decoder_kind_of(weights.arrays) == "cross", "decoder_blocks" not in LAYOUTS[target].absent
    if is_cross and has_a_place and target != "mae-core":
        raise CheckpointError(
            f"{weights.file} has a cross-attention decoder, models of {target} have none: --to mae-core keeps it,"
            " --to timm writes the encoder alone"
        )


def _not_kept(path: Path, model: Architecture | None) -> list[str]:
    """List what the header of a safetensors file would hold and this one has no place for."""
    if model is None or path.suffix not in (".pth", ".pdparams"):
        return []
    named = {
        "pixel statistics": model.pixel_mean,
        "the value range": model.value_range,
        f"the names of {len(model.class_names or ())} classes": model.class_names,
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


def _choose_target(path: Path, target: str) -> str:
    """Return the target's name, guessed from the suffix of `path` where it is `auto`; refuse what does not fit."""
    if target != "auto" and target not in LAYOUTS:
        raise UserError(f"target {target!r} is not known; use auto, {', '.join(LAYOUTS)}")
    suffix = "" if path.is_dir() else path.suffix
    of_suffix = next((name for name, layout in LAYOUTS.items() if suffix in layout.suffixes), None)
    chosen = of_suffix if target == "auto" else target
    if chosen is None:
        raise UserError(f"{path} has suffix {suffix}; end it in .safetensors, .pdparams or .pth, or name a folder")
    if suffix not in LAYOUTS[chosen].suffixes:
        allowed = " or ".join(item or "a folder (no suffix)" for item in LAYOUTS[chosen].suffixes)
        raise UserError(f"{path} cannot be written as {chosen}; it takes {allowed}")
    if not suffix and path.is_file():
        raise UserError(f"{path} is a file, and {chosen} is a folder; name another, or end it in .safetensors or .pth")
    return chosen


def _write(path: Path, target: str, arrays: Arrays, model: Architecture | None, origin: Mapping[str, str]) -> list[str]:
    """Write arrays of our names and shapes; return the names that the target has no place for."""
    layout = LAYOUTS[target]
    theirs, left_out = from_ours(arrays, layout, model.patch_size if model else None)
    try:
        if layout.folder_config:
            _write_folder(path, layout, theirs, model, origin)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_file(path, theirs, {**layout.header(model), **origin})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} could not be written: {error}") from None
    return left_out


def _write_file(path: Path, arrays: Arrays, header: Mapping[str, str]) -> None:
    if path.suffix == ".pdparams":
        write_atomic(path, pdparams_bytes(arrays))
    elif path.suffix == ".pth":
        replace_atomic(path, lambda temporary: write_torch(temporary, arrays))
    else:
        replace_atomic(path, lambda temporary: write_safetensors(temporary, arrays, dict(header)))


def _write_folder(
    path: Path, layout: Layout, arrays: Arrays, model: Architecture | None, origin: Mapping[str, str]
) -> None:
    if model is None:
        raise CheckpointError("a Hugging Face folder needs weights of a whole model")
    assert layout.folder_config is not None
    config = layout.folder_config(model)
    path.mkdir(parents=True, exist_ok=True)
    _write_file(path / "model.safetensors", arrays, {**layout.header(model), **origin})
    if preprocessor := preprocessor_text(model):
        write_atomic(path / FILE, preprocessor.encode())
    else:
        (path / FILE).unlink(missing_ok=True)  # of other weights
    write_atomic(path / "config.json", config.encode())
