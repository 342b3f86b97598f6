"""Put weights of any source into a model, saying what fitted and what did not."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from mae_core.errors import CheckpointError
from mae_core.weights.layouts import DECODER
from mae_core.weights.pickle_values import shown
from mae_core.weights.positions import resize_positions
from mae_core.weights.sources import Weights, read_weights

# What may be in the model and not in the file, or the other way round: encoder-only files, other heads,
# and the norm that average pooling replaces. Any other difference is an error.
_FREE = DECODER | {"head", "norm", "fc_norm"}
_POSITIONS = ("pos_embed", "decoder_pos_embed")
Grid = tuple[int, int]


@dataclass(frozen=True)
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

    def lines(self) -> list[str]:
        """Say it for people."""
        said = [f"weights: {len(self.loaded)} tensors from {self.file} ({self.source})"]
        said += [
            f"{name} resized from {old[0]}x{old[1]} to {new[0]}x{new[1]} patches"
            for name, (old, new) in self.resized.items()
        ]
        if self.missing:
            said.append(f"not in the file, initial values kept: {_brief(self.missing)}")
        if self.unexpected:
            said.append(f"in the file, not in the model, left out: {_brief(self.unexpected)}")
        return said + self.remarks


def load_pretrained(model: nn.Layer, path: str | Path, source: str = "auto") -> KeyReport:
    """Load what fits: encoder-only files into whole models and back, other heads, other image sizes.

    Args:
        model: `MaskedAutoencoderViT` or `VisionTransformer`.
        path: run folder, checkpoint folder, Hugging Face folder, or file with or without suffix.
        source: a name of `layouts.LAYOUTS`, or `auto`.

    Raises:
        CheckpointError: damaged or refused, or weights of another model (blocks, widths or patches differ).
    """
    from mae_core.checkpoint import find_weights

    weights = read_weights(find_weights(Path(path)), source)
    own = model.state_dict()
    arrays, resized = _fit_positions(model, weights, own)
    arrays = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    fitting = {
        name: array
        for name, array in arrays.items()
        if name in own and (list(array.shape) == list(own[name].shape) or not name.startswith("head."))
    }
    missing = [name for name in own if name not in fitting]
    unexpected = [name for name in arrays if name not in fitting]
    _refuse(weights, own, fitting, missing, unexpected)
    filled = {name: paddle.to_tensor(array.astype(_dtype(own[name]))) for name, array in fitting.items()}
    model.set_state_dict({**own, **filled})
    unexpected += weights.unknown
    return KeyReport(weights.file, weights.source, list(fitting), missing, unexpected, resized, weights.remarks)


def _dtype(tensor: paddle.Tensor) -> str:
    return str(tensor.dtype).rpartition(".")[2]


def _refuse(
    weights: Weights, own: dict[str, Any], fitting: dict[str, Any], missing: list[str], unexpected: list[str]
) -> None:
    wrong = [f"missing {name}" for name in missing if name.partition(".")[0] not in _FREE]
    wrong += [f"unexpected {shown(name)}" for name in unexpected if name.partition(".")[0] not in _FREE]
    wrong += [
        f"{name} has shape {list(array.shape)}, the model {list(own[name].shape)}"
        for name, array in fitting.items()
        if list(array.shape) != list(own[name].shape)
    ]
    if wrong:
        raise CheckpointError(f"{weights.file} does not fit this model: {_brief(wrong, '; ')}")


def _fit_positions(
    model: Any, weights: Weights, own: dict[str, Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[Grid, Grid]]]:
    """Resize position embeddings of another grid; a file that does not tell its grid is taken as square."""
    arrays, resized = dict(weights.arrays), {}
    for name in _POSITIONS:
        if name not in own or name not in arrays or arrays[name].ndim != 3:
            continue
        old, new = _grid_of(weights, arrays[name].shape[1] - 1, model.grid), tuple(model.grid)
        if old != new:
            arrays[name] = resize_positions(np.asarray(arrays[name]), old, new)
            resized[name] = (old, new)
    return arrays, resized


def _grid_of(weights: Weights, positions: int, wanted: Grid) -> Grid:
    try:
        grid = weights.architecture().grid
    except CheckpointError:
        grid = None
    if grid and grid[0] * grid[1] == positions:
        return grid
    if wanted[0] * wanted[1] == positions:
        return wanted
    raise CheckpointError(
        f"{weights.file} has {positions} positions in a grid it does not tell, the model {wanted[0]}x{wanted[1]};"
        " convert it first with mae-core convert --set img_size=HEIGHT,WIDTH"
    )


def _brief(names: Iterable[str], separator: str = ", ") -> str:
    names = list(names)
    return separator.join(names[:10]) + (f"{separator}and {len(names) - 10} more" if len(names) > 10 else "")
