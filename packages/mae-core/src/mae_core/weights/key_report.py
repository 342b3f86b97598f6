"""What a load did, name by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mae_core.weights.formats.pickle_values import safe_text
from mae_core.weights.parameter_names import DECODER, plain_name

Grid = tuple[int, int]


@dataclass(frozen=True, repr=False)
class KeyReport:
    """What `load_pretrained` did.

    Args:
        loaded: names of the model that were filled.
        missing: names of the model that the file lacks; they keep their initial values.
        unexpected: names of the file that the model lacks.
        resized: position embeddings, with the grids (rows, columns) before and after.
        remarks: what else there is to know.
    """

    file: Path
    source: str
    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    resized: dict[str, tuple[Grid, Grid]]
    remarks: list[str]

    def __repr__(self) -> str:
        parts = [f"{len(self.loaded)} tensors from {self.file} ({self.source})"]
        counts = {"resized": self.resized, "missing": self.missing, "unexpected": self.unexpected}
        parts += [f"{len(names)} {word}" for word, names in counts.items() if names]
        return f"{type(self).__name__}({', '.join(parts)})"

    def lines(self) -> list[str]:
        """Return lines on it for people."""
        lines = [f"weights: {len(self.loaded)} tensors from {self.file} ({self.source})"]
        lines += [
            f"{name} resized from {old[0]}x{old[1]} to {new[0]}x{new[1]} patches"
            for name, (old, new) in self.resized.items()
        ]
        decoder, unexpected = _split(self.unexpected)
        if decoder:
            lines.append("the decoder is left out, as meant: this model has none")
        absent, missing = _split(self.missing)
        if absent:
            lines.append(f"the file holds no decoder: its {len(absent)} tensors keep their initial values")
        if missing:
            lines.append(f"not in the file, initial values kept: {join_names(missing)}")
        if unexpected:
            lines.append(f"in the file, not in the model, left out: {join_names(unexpected)}")
        return lines + self.remarks


def _split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Part the names of a whole decoder from the others; of a part of one, all are others."""
    names = list(names)
    decoder = [name for name in names if plain_name(name).partition(".")[0] in DECODER]
    whole = any(name.startswith("decoder_pred") for name in map(plain_name, decoder))
    return (decoder, [name for name in names if name not in decoder]) if whole else ([], names)


def join_names(names: Iterable[str], separator: str = ", ") -> str:
    """List names, at most ten of them."""
    names = [safe_text(name) for name in names]
    return separator.join(names[:10]) + (f"{separator}and {len(names) - 10} more" if len(names) > 10 else "")
