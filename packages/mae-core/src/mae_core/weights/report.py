"""What a load or a conversion did, in words."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mae_core.weights.formats.pickle_values import shown

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
        """Say it for people."""
        said = [f"weights: {len(self.loaded)} tensors from {self.file} ({self.source})"]
        said += [
            f"{name} resized from {old[0]}x{old[1]} to {new[0]}x{new[1]} patches"
            for name, (old, new) in self.resized.items()
        ]
        if self.missing:
            said.append(f"not in the file, initial values kept: {brief(self.missing)}")
        if self.unexpected:
            said.append(f"in the file, not in the model, left out: {brief(self.unexpected)}")
        return said + self.remarks


def brief(names: Iterable[str], separator: str = ", ") -> str:
    """List names, at most ten of them."""
    names = [shown(name) for name in names]
    return separator.join(names[:10]) + (f"{separator}and {len(names) - 10} more" if len(names) > 10 else "")
