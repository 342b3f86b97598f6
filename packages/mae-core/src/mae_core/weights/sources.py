"""Read any published checkpoint into this package's names and shapes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mae_core.errors import CheckpointError, UserError
from mae_core.weights.architecture import Architecture, architecture_of
from mae_core.weights.formats.paddle_file import read_pdparams
from mae_core.weights.formats.pickle_values import RefusedPickle, safe_text
from mae_core.weights.formats.safetensors_file import read_safetensors
from mae_core.weights.formats.shards import INDEX_ENDING, fingerprint, list_shards
from mae_core.weights.formats.torch_file import read_torch
from mae_core.weights.key_report import join_names
from mae_core.weights.layouts import LAYOUTS, is_ours
from mae_core.weights.metadata import Metadata
from mae_core.weights.parameter_names import TRAINING_ALONE, RawFile, plain_name
from mae_core.weights.translate import Arrays, to_ours

# In this order a name without its suffix is completed.
SUFFIXES = (".safetensors", ".pdparams", ".pth", ".pt", ".bin", ".pd")
_NOTHING = Metadata()
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_IN_FOLDER = (*_WHOLE, *(name + INDEX_ENDING for name in _WHOLE))


@dataclass(frozen=True)
class Weights:
    """Weights by our names and in our shapes.

    Args:
        source: the layout they came in.
        metadata: what the file records of the model beside its arrays.
        unknown: names of the file that no layout of ours has.
        remarks: what a reader of the report should know.
        config: of the run that wrote them, nested; {} where no run did.
        sha256: of the file, where it was verified as that of a run.
    """

    file: Path
    source: str
    arrays: Arrays
    metadata: Metadata
    unknown: list[str]
    remarks: list[str]
    config: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def architecture(self, stated: Metadata = _NOTHING) -> Architecture:
        """Derive the architecture; what is stated goes before what the file records."""
        return architecture_of(self.arrays, self.metadata | stated)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file; see `shards.fingerprint`."""
        return self.sha256 or fingerprint(self.file)


def find_file(path: Path) -> Path:
    """Turn what a user names (a file, with or without suffix, or a Hugging Face folder) into a weight file.

    Of weights in several shards, it is their index.

    Raises:
        CheckpointError: nothing is there.
    """
    candidates = [path / name for name in _IN_FOLDER] + [path]
    candidates += [path.with_name(path.name + suffix) for suffix in SUFFIXES if path.name]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if not path.exists():
        raise CheckpointError(f"{path}: no such file{'' if path.suffix in SUFFIXES else ' or folder'}")
    raise CheckpointError(
        f"{path} holds no weights; give a run folder, a checkpoint folder, a Hugging Face folder or a file"
        f" ({', '.join(SUFFIXES)})"
    )


def read_file(file: Path) -> RawFile:
    """Read a weight file by its suffix; nothing in it is executed.

    Raises:
        CheckpointError: it is damaged, or asks for what no weight file needs.
    """
    try:
        if file.name.endswith(INDEX_ENDING):
            return _read_shards(file)
        if file.suffix == ".safetensors":
            return RawFile(file, *read_safetensors(file))
        if file.suffix in (".pdparams", ".pd"):
            return RawFile(file, read_pdparams(file))
        if file.suffix in (".pth", ".pt", ".bin"):
            return RawFile(file, read_torch(file))
    except RefusedPickle as error:
        raise CheckpointError(
            f"{file} is refused, and nothing in it was run: {error}; plain tensors are read only"
        ) from None
    except CheckpointError as error:
        message = str(error).removeprefix("it ")
        raise CheckpointError(f"{file} {message}" if message != str(error) else f"{file}: {message}") from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror})") from None
    raise CheckpointError(f"{file} has suffix {file.suffix or 'none'}; {', '.join(SUFFIXES)} are read")


def _read_shards(index: Path) -> RawFile:
    arrays: Arrays = {}
    for shard, names in list_shards(index).items():
        found = read_file(shard).arrays
        if missing := [name for name in names if name not in found]:
            raise CheckpointError(f"it lists {safe_text(missing[0])} in {shard.name}, which lacks it")
        arrays |= {name: found[name] for name in names}
    return RawFile(index, arrays)


def guess_source(raw: RawFile) -> str:
    """Return the name of the layout that names and shapes are of.

    Raises:
        CheckpointError: it is none of ours.
    """
    shapes = {plain_name(name): array.shape for name, array in raw.arrays.items()}
    for layout in LAYOUTS.values():
        if layout.matches(raw, shapes):
            return layout.name
    names = ", ".join(safe_text(name) for name in list(shapes)[:4])
    raise CheckpointError(f"{raw.file} is none of the MAE and ViT checkpoints that are read (it has {names}, ...)")


def read_weights(path: Path, source: str = "auto") -> Weights:
    """Read weights of any source into our names and shapes, in memory.

    Args:
        path: a file, with or without suffix, or a Hugging Face folder.
        source: a name of `LAYOUTS`, or `auto`.

    Raises:
        CheckpointError: nothing there, damaged, refused or unknown.
    """
    if source != "auto" and source not in LAYOUTS:
        raise UserError(f"source {source!r} is not known; use auto, {', '.join(LAYOUTS)}")
    return translate(read_file(find_file(path)), source)


def translate(raw: RawFile, source: str = "auto") -> Weights:
    """Turn what a file holds into our names and shapes; see `read_weights`."""
    layout = LAYOUTS[guess_source(raw) if source == "auto" else source]
    try:
        metadata, remarks = layout.metadata(raw)
        if is_ours(raw):
            own = guess_source(raw)
            _refuse_unless(layout.name == own, f"its header names {own}, not {layout.name}")
            kept = {name: array for name, array in raw.arrays.items() if not name.startswith(TRAINING_ALONE)}
            return Weights(raw.file, layout.name, kept, metadata, [], remarks)
        arrays, unknown = to_ours(raw.arrays, layout)
        _refuse_unless(
            source == "auto" or len(arrays) > len(unknown),
            f"{len(unknown)} of its names are not those of {layout.name}",
        )
    except CheckpointError as error:
        raise CheckpointError(f"{raw.file}: {error}") from None
    return Weights(raw.file, layout.name, arrays, _patches_of(raw) | metadata, unknown, remarks)


def _refuse_unless(good: bool, why: str) -> None:
    if not good:
        raise CheckpointError(f"{why}; leave the source out to have it detected")


def _patches_of(raw: RawFile) -> Metadata:
    """Return patch size and channels of a convolution."""
    for array in raw.arrays.values():
        if array.ndim == 4 and array.shape[2] == array.shape[3]:
            return Metadata(patch_size=int(array.shape[2]), in_chans=int(array.shape[1]))
    return Metadata()


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
