"""Weights in several files, as Hugging Face splits large ones: an index lists which tensor lies in which."""

import hashlib
import json
from pathlib import Path

from mae_core.errors import CheckpointError
from mae_core.files import sha256
from mae_core.weights.formats.pickle_values import safe_text

INDEX_ENDING = ".index.json"  # of model.safetensors.index.json


def list_shards(index: Path) -> dict[Path, list[str]]:
    """Return the files beside an index and the tensors of each.

    Raises:
        CheckpointError: the index is damaged, or names a file that is not there or lies elsewhere.
    """
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError("it is not a readable index of shards") from None
    shards: dict[Path, list[str]] = {}
    for name, file in places:
        if not isinstance(file, str) or Path(file).name != file or not file.endswith((".safetensors", ".bin")):
            raise CheckpointError(f"it names {safe_text(str(file))}, which is no weight file beside it")
        shards.setdefault(index.with_name(file), []).append(name)
    if not shards:
        raise CheckpointError("it names no shards")
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise CheckpointError(f"it names {safe_text(missing[0])}, which is not there; download every shard")
    return shards


def fingerprint(file: Path) -> str:
    """Return the SHA-256 of a weight file; of an index, that of what `sha256sum` prints of the shards by name."""
    if not file.name.endswith(INDEX_ENDING):
        return sha256(file)
    lines = [f"{sha256(shard)}  {shard.name}\n" for shard in sorted(list_shards(file))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
