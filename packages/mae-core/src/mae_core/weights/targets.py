"""Write weights for other programs; a file or folder is whole or not there."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError

from mae_core.errors import CheckpointError, UserError
from mae_core.files import replace_atomic, write_atomic
from mae_core.weights.architecture import Architecture
from mae_core.weights.formats.paddle_file import pdparams_bytes
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.formats.torch_writer import write_torch
from mae_core.weights.huggingface import make_config
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.translate import Arrays, from_ours

# What each target may be written as; "" is a folder.
TARGETS = {
    "mae-core": (".safetensors", ".pdparams"),
    "official": (".pth", ".safetensors"),
    "timm": (".safetensors", ".pth"),
    "huggingface": ("",),
    "paddlevit": (".pdparams",),
    "passl": (".pdparams",),
}
_OF_SUFFIX = {".safetensors": "mae-core", ".pdparams": "mae-core", ".pth": "official", "": "huggingface"}


def choose_target(path: Path, target: str = "auto") -> str:
    """Return the target's name, guessed from the suffix of `path` where it is `auto`.

    Raises:
        UserError: the two do not fit.
    """
    if target != "auto" and target not in TARGETS:
        raise UserError(f"target {target!r} is not known; use auto, {', '.join(TARGETS)}")
    suffix = "" if path.is_dir() else path.suffix
    chosen = _OF_SUFFIX.get(suffix) if target == "auto" else target
    if chosen is None:
        raise UserError(f"{path} has suffix {suffix}; end it in .safetensors, .pdparams or .pth, or name a folder")
    if suffix not in TARGETS[chosen]:
        allowed = " or ".join(item or "a folder (no suffix)" for item in TARGETS[chosen])
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
        target: a name of TARGETS.
        model: what they belong to; None where nobody knows.
        origin: facts about the source for the header.

    Returns:
        the names that the target has no place for.

    Raises:
        CheckpointError: the target cannot express them, or the disk refused.
    """
    theirs, left_out = from_ours(arrays, LAYOUTS[target], model.patch_size if model else None)
    try:
        if target == "huggingface":
            _write_folder(path, theirs, model, origin)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_file(path, target, theirs, model, origin)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} could not be written: {error}") from None
    return left_out


def _write_file(path: Path, target: str, arrays: Arrays, model: Architecture | None, origin: Mapping[str, str]) -> None:
    if path.suffix == ".pdparams":
        write_atomic(path, pdparams_bytes(arrays))
    elif path.suffix == ".pth":
        replace_atomic(path, lambda temporary: write_torch(temporary, arrays))
    else:
        header = {"format": "pt", **origin}  # what transformers asks for
        if target == "mae-core":
            header = {"format": "mae-core", "schema": "1", **origin}
            header["architecture"] = json.dumps(model.known() if model else {})
        replace_atomic(path, lambda temporary: write_safetensors(temporary, arrays, header))


def _write_folder(path: Path, arrays: Arrays, model: Architecture | None, origin: Mapping[str, str]) -> None:
    if model is None:
        raise CheckpointError("a Hugging Face folder needs weights of a whole model")
    config = make_config(model)
    path.mkdir(parents=True, exist_ok=True)
    replace_atomic(path / "model.safetensors", lambda file: write_safetensors(file, arrays, {"format": "pt", **origin}))
    write_atomic(path / "config.json", (json.dumps(config, indent=2) + "\n").encode())
