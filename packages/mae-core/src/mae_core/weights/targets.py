"""Write weights for other programs; a file or folder is whole or not there."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError

from mae_core.errors import CheckpointError, UserError
from mae_core.files import replace_atomic, write_atomic
from mae_core.weights.architecture import Architecture
from mae_core.weights.formats.paddle_file import pdparams_bytes
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.formats.torch_writer import write_torch
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.parameter_names import Layout
from mae_core.weights.preprocessor import FILE, preprocessor_text
from mae_core.weights.translate import Arrays, from_ours


def choose_target(path: Path, target: str = "auto") -> str:
    """Return the target's name, guessed from the suffix of `path` where it is `auto`.

    Raises:
        UserError: the two do not fit.
    """
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


def write_weights(
    path: Path, target: str, arrays: Arrays, model: Architecture | None, origin: Mapping[str, str]
) -> list[str]:
    """Write arrays (our names and shapes).

    Args:
        path: file, or folder for `huggingface`.
        target: a name of LAYOUTS.
        model: what they belong to; None where nobody knows.
        origin: entries on the source for the header.

    Returns:
        the names that the target has no place for.

    Raises:
        CheckpointError: the target cannot express them, or the disk refused.
    """
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
