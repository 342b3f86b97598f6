"""What a weight file holds, in lines for people."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickle_values import safe_text
from mae_core.weights.formats.shards import fingerprint
from mae_core.weights.key_report import join_names
from mae_core.weights.sources import find_file, guess_source, read_file, translate


def inspect_lines(path: str | Path) -> Iterator[str]:
    """Yield lines on a file: size, SHA-256, the guessed source and model, and each tensor's name, shape and type.

    Raises:
        CheckpointError: nothing there, damaged or refused.
    """
    file = find_file(Path(path))
    raw = read_file(file)
    yield f"file     {file} ({file.stat().st_size:,} bytes)"
    yield f"sha256   {fingerprint(file)}"
    for key, value in sorted(raw.header.items()):
        yield f"header   {safe_text(key)} = {safe_text(value)}"
    try:
        yield f"source   {guess_source(raw)}"
        weights = translate(raw)
        model = weights.architecture().known()
        names = model.pop("class_names", ())
        yield "model    " + ", ".join(f"{key}={value}" for key, value in model.items())
        if names:
            yield f"classes  {join_names(names)}"
        yield from (f"remark   {remark}" for remark in weights.remarks)
        yield from (f"unknown  {safe_text(name)}" for name in weights.unknown)
    except CheckpointError as error:
        yield f"source   unknown: {error}"
    count = sum(array.size for array in raw.arrays.values() if np.issubdtype(array.dtype, np.floating))
    yield f"tensors  {len(raw.arrays)}, {count:,} floating-point numbers"
    for name, array in raw.arrays.items():
        yield f"  {safe_text(name)}  {list(array.shape)}  {array.dtype}"
