"""Arrays of one layout into another: names, transposed weights, the patch embedding, query/key/value. All exact."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickle_values import safe_text
from mae_core.weights.parameter_names import Layout, plain_name

Arrays = dict[str, NDArray[Any]]
Convert = Callable[[NDArray[Any]], NDArray[Any]]
_PATCH = "patch_embed.proj.weight"
_TRACKED = "head.0.num_batches_tracked"


def to_ours(arrays: Mapping[str, NDArray[Any]], layout: Layout) -> tuple[Arrays, list[str]]:
    """Translate to this package's names and shapes.

    Returns:
        the arrays, and the names that the layout does not know.

    Raises:
        CheckpointError: query, key and value do not fit together.
    """
    ours: Arrays = {}
    unknown = []
    for name, array in arrays.items():
        translated = layout.ours(plain_name(name))
        if translated is None:
            unknown.append(name)
        else:
            ours[translated] = _converted(translated, array, layout, patch_to_ours)
    if layout.split_qkv and layout.theirs("blocks.0.attn.k.bias") is None:
        ours |= _zero_key_biases(ours)
    return (_joined(ours) if layout.split_qkv else ours), unknown


def from_ours(arrays: Mapping[str, NDArray[Any]], layout: Layout, patch_size: int | None) -> tuple[Arrays, list[str]]:
    """Translate from this package's names and shapes.

    Args:
        patch_size: p; needed where the layout keeps the patch embedding as a convolution.

    Returns:
        the arrays, and the names that the layout has no place for.
    """
    theirs: Arrays = {}
    left_out = []
    for name, array in _split(arrays, layout).items():
        translated = layout.theirs(name)
        if translated is None:
            left_out.append(name)
        else:
            theirs[translated] = _converted(name, array, layout, lambda weight: patch_from_ours(weight, patch_size))
    if "head.0._mean" in arrays and _TRACKED not in arrays and layout.endings:
        theirs[_TRACKED] = np.zeros((), np.int64)  # PyTorch's batch norm has it, Paddle's not
    return theirs, left_out


def _converted(name: str, array: NDArray[Any], layout: Layout, patch: Convert) -> NDArray[Any]:
    if name == _PATCH:
        return patch(array) if layout.conv else array
    is_linear = layout.out_in and array.ndim == 2 and name.endswith(".weight")
    return array.T if is_linear else array


def patch_to_ours(weight: NDArray[Any]) -> NDArray[Any]:
    """Turn the weight of a convolution into that of a linear layer: [D, C, p, p] -> [p*p*C, D]."""
    if weight.ndim != 4:
        raise CheckpointError(f"the patch embedding has shape {list(weight.shape)}; [D, C, p, p] is needed")
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])  # [p, p, C, D]


def patch_from_ours(weight: NDArray[Any], patch_size: int | None) -> NDArray[Any]:
    """Turn the weight of a linear layer into that of a convolution: [p*p*C, D] -> [D, C, p, p]."""
    pixels, dim = weight.shape
    if patch_size is None or pixels % patch_size**2:
        raise CheckpointError(f"a patch of {pixels} numbers does not show its size; add --set patch_size=P")
    return weight.reshape(patch_size, patch_size, -1, dim).transpose(3, 2, 0, 1)  # [p, p, C, D]


def _zero_key_biases(ours: Arrays) -> Arrays:
    biases = {name: array for name, array in ours.items() if name.endswith(".attn.q.bias")}
    return {name.replace(".attn.q.", ".attn.k."): np.zeros_like(array) for name, array in biases.items()}


def _joined(ours: Arrays) -> Arrays:
    """Join q, k and v [in, out] to qkv, keeping the order of the others."""
    result: Arrays = {}
    for name, array in ours.items():
        head, part, ending = name.rpartition(".attn.q.")
        if part:
            triple = [ours.get(f"{head}.attn.{letter}.{ending}") for letter in "qkv"]
            if any(item is None or item.shape != array.shape for item in triple):
                raise CheckpointError(f"query, key and value of {safe_text(head)} are not three of the same shape")
            result[f"{head}.attn.qkv.{ending}"] = np.concatenate(triple, axis=-1)  # type: ignore[arg-type]
        elif ".attn.k." not in name and ".attn.v." not in name:
            result[name] = array
        elif name.replace(".attn.k.", ".attn.q.").replace(".attn.v.", ".attn.q.") not in ours:
            raise CheckpointError(f"{safe_text(name)} has no query beside it")
    return result


def _split(arrays: Mapping[str, NDArray[Any]], layout: Layout) -> Arrays:
    result: Arrays = {}
    for name, array in arrays.items():
        head, part, ending = name.rpartition(".attn.qkv.")
        if part and ending in layout.split_qkv and layout.theirs(name):
            for letter, third in zip("qkv", np.split(array, 3, axis=-1), strict=True):
                result[f"{head}.attn.{letter}.{ending}"] = third
        else:
            result[name] = array
    return result
