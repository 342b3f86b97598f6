"""Put weights of any source into a model, with a report on what fitted and what did not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

from mae_core.errors import CheckpointError
from mae_core.models.encoder import ViTEncoder
from mae_core.ops.patches import default_statistics
from mae_core.weights.adaptation import mix_channels, resize_positions
from mae_core.weights.architecture import decoder_kind_of
from mae_core.weights.checkpoint_folder import open_weights
from mae_core.weights.key_report import Grid, KeyReport, join_names
from mae_core.weights.metadata import metadata_of
from mae_core.weights.parameter_names import DECODER, TRAINING_ALONE, plain_name
from mae_core.weights.sources import Weights

# What may be in the model and not in the file, or the other way round: encoder-only files, other heads (a pooler),
# and the norm that average pooling replaces. Any other difference is an error.
_FREE = DECODER | {"head", "norm", "fc_norm", "pooler"}
_POSITIONS = ("pos_embed", "decoder_pos_embed")


def load_pretrained(
    model: nn.Layer,
    path: str | Path,
    source: str = "auto",
    *,
    same_target: bool = False,
    channels_from: str | None = None,
) -> KeyReport:
    """Load what fits: encoder-only files into whole models and back, other heads, other image sizes.

    Args:
        model: `MaskedAutoencoderViT` or `VisionTransformer`.
        path: run folder, checkpoint folder, Hugging Face folder, or file with or without suffix.
        source: a name of `layouts.LAYOUTS`, or `auto`.
        same_target: see `other_metadata`; training may go on with another target.
        channels_from: "repeat", "mean" or "first" adapts weights of another number of channels; see
            `adaptation.mixture`.

    Raises:
        CheckpointError: damaged or refused, or weights of another model (blocks, widths, heads or patches differ).
    """
    weights = open_weights(path, source)
    if channels_from:
        weights = adapt_channels(weights, model.in_chans, channels_from)
    return fit_weights(model, weights, same_target)


def fit_weights(model: nn.Layer, weights: Weights, same_target: bool = False) -> KeyReport:
    """Load what fits of weights that are open; see `load_pretrained`."""
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(TRAINING_ALONE)}
    arrays, resized = _fit_positions(model, weights, own)
    arrays = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    fitting = {
        name: array
        for name, array in arrays.items()
        if name in own and (list(array.shape) == list(own[name].shape) or not name.startswith("head."))
    }
    missing = [name for name in own if name not in fitting]
    unexpected = [name for name in arrays if name not in fitting] + weights.unknown
    later = tuple(f"blocks.{len(model.blocks) + i}." for i in range(getattr(model, "later_blocks", 0)))
    strange = [name for name in unexpected if not name.startswith(later)]
    _refuse(weights, own, fitting, missing, strange, other_metadata(weights, model, same_target))
    dtypes = {name: str(own[name].dtype).rpartition(".")[2] for name in fitting}
    filled = {name: paddle.to_tensor(array.astype(dtypes[name])) for name, array in fitting.items()}
    model.set_state_dict({**model.state_dict(), **filled})
    _take_names(model, weights, fitting)
    return KeyReport(weights.file, weights.source, list(fitting), missing, unexpected, resized, weights.remarks)


def adapt_channels(weights: Weights, channels: int, way: str) -> Weights:
    """Adapt weights to another number of channels, by the pixel statistics that they record or else the usual ones.

    Raises:
        UserError: the way is not known; see `adaptation.mixture`.
    """
    found = weights.architecture()
    mean, std = default_statistics(found.in_chans or channels)
    return mix_channels(weights, channels, way, found.pixel_mean or mean, found.pixel_std or std)


def _take_names(model: Any, weights: Weights, fitting: Mapping[str, Any]) -> None:
    """Name the classes of a classifier that has no names as the file does, where its head is the file's."""
    head = [name for name in model.state_dict() if name.startswith("head.")]
    if not head or not fitting.keys() >= set(head) or getattr(model, "class_names", ()) is not None:
        return
    if names := weights.architecture().class_names:
        model.name_classes(names)


def other_metadata(weights: Weights, model: nn.Layer, same_target: bool) -> list[str]:
    """List in what the weights are another model's that no shape shows, but the file records.

    Args:
        same_target: whether the decoder must also predict the model's kind of pixels (`norm_pix_loss`).
    """
    kinds = decoder_kind_of(weights.arrays), getattr(model, "decoder_kind", None)
    if None not in kinds and kinds[0] != kinds[1]:
        return [f"decoder_kind is {kinds[0]}, the model's {kinds[1]}; set decoder_kind to {kinds[0]}"]
    own, recorded = metadata_of(model).known(), weights.metadata.known()
    compared = ["patch_size", "in_chans", "num_heads"]
    if any(name.startswith("decoder_blocks.") for name in weights.arrays):
        compared += ["decoder_num_heads", "norm_pix_loss"] if same_target else ["decoder_num_heads"]
    advice = {
        "norm_pix_loss": "; set norm_pix_loss to {}",
        "in_chans": " (channels_from 'repeat', 'mean' or 'first' adapts them)",
    }
    return [
        f"{name} is {recorded[name]}, the model's {own[name]}{advice.get(name, '').format(recorded[name])}"
        for name in compared
        if name in recorded and name in own and recorded[name] != own[name]
    ]


def _refuse(
    weights: Weights,
    own: dict[str, Tensor],
    fitting: dict[str, NDArray[Any]],
    missing: list[str],
    unexpected: list[str],
    wrong: list[str],
) -> None:
    wrong += [f"missing {name}" for name in missing if not _is_free(name)]
    wrong += [f"unexpected {name}" for name in unexpected if not _is_free(name)]
    wrong += [
        f"{name} has shape {list(array.shape)}, the model {list(own[name].shape)}"
        for name, array in fitting.items()
        if list(array.shape) != list(own[name].shape)
    ]
    if wrong:
        raise CheckpointError(f"{weights.file} does not fit this model: {join_names(wrong, '; ')}")


def _is_free(name: str) -> bool:
    return plain_name(name).removeprefix("vit.").partition(".")[0] in _FREE


def _fit_positions(
    model: ViTEncoder, weights: Weights, own: dict[str, Tensor]
) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[Grid, Grid]]]:
    """Resize position embeddings of another grid; a file that does not record its grid is taken as square."""
    arrays, resized = dict(weights.arrays), {}
    for name in _POSITIONS:
        if name not in own or name not in arrays or arrays[name].ndim != 3:
            continue
        old, new = _grid_of(weights, arrays[name].shape[1] - 1, model.grid), model.grid
        if old != new:
            arrays[name] = resize_positions(np.asarray(arrays[name]), old, new)
            resized[name] = (old, new)
    return arrays, resized


def _grid_of(weights: Weights, positions: int, wanted: Grid) -> Grid:
    """Return the file's grid.

    Raises:
        CheckpointError: it is not recorded, and as many positions could be a square or the model's grid.
    """
    try:
        grid = weights.architecture().grid
    except CheckpointError:
        grid = None
    as_many = wanted[0] * wanted[1] == positions
    if grid is None and as_many:
        return wanted
    recorded = weights.metadata.img_size is not None  # else the grid is a guess: a square
    if grid and grid[0] * grid[1] == positions and (recorded or grid == wanted or not as_many):
        return grid
    raise CheckpointError(
        f"{weights.file} has {positions} positions in a grid that it does not record, the model"
        f" {wanted[0]}x{wanted[1]}; convert it first with mae-core convert --set img_size=HEIGHT,WIDTH"
    )


def load_model(path: str | Path, model: nn.Layer) -> Path:
    """Load weights only, every name and shape matching; `load_pretrained` takes what fits instead.

    Args:
        path: a run folder (its newest checkpoint), a checkpoint folder, or a file of any source (see `weights`).

    Returns:
        the file that was read.

    Raises:
        CheckpointError: nothing there, damaged, refused, or of another model.
    """
    weights = open_weights(path)
    load_weights(model, weights)
    return weights.file


def load_weights(model: nn.Layer, weights: Weights) -> None:
    """Load weights that are open, every name and shape matching.

    Raises:
        CheckpointError: they are of another model.
    """
    arrays = {name: array for name, array in weights.arrays.items() if not name.endswith("num_batches_tracked")}
    if weights.unknown:
        raise CheckpointError(f"{weights.file} does not fit this model: unexpected {join_names(weights.unknown)}")
    if wrong := other_metadata(weights, model, same_target=True):
        raise CheckpointError(f"{weights.file} does not fit this model: {'; '.join(wrong)}")
    load_arrays(model, arrays, str(weights.file))
    _take_names(model, weights, arrays)


def load_arrays(model: nn.Layer, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Put arrays into a model, every name and shape matching.

    Raises:
        CheckpointError: names or shapes differ; all differences are named.
    """
    own = model.state_dict()
    wrong = [f"missing {name}" for name in own.keys() - arrays.keys()]
    wrong += [f"unexpected {name}" for name in arrays.keys() - own.keys()]
    wrong += [
        f"{name} has shape {list(arrays[name].shape)}, the model {list(own[name].shape)}"
        for name in own.keys() & arrays.keys()
        if list(arrays[name].shape) != list(own[name].shape)
    ]
    if wrong:
        shown = "; ".join(sorted(wrong)[:10]) + (f"; and {len(wrong) - 10} more" if len(wrong) > 10 else "")
        raise CheckpointError(f"{source} does not fit this model: {shown}")
    model.set_state_dict({name: paddle.to_tensor(np.asarray(value)) for name, value in arrays.items()})
