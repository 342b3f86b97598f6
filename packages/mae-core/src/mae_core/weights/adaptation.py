"""Weights adapted to images of another size or another number of channels than they were trained on.

Position embeddings are resized bicubically, as the official fine-tuning does. Each new channel is a mixture of the old
ones: the patch embedding is scaled so that the sum over channels, and with it every activation, keeps its size; the
prediction head is mixed as it is, since each of its outputs is a pixel.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.weights.sources import Weights

EMBEDDING, HEAD = "patch_embed.proj", "decoder_pred"
Mixture = NDArray[np.float64]


def mixture(way: str, old: int, new: int) -> Mixture:
    """Return what each new channel is made of: [new, old], rows sum to one.

    Args:
        way: "repeat" takes the old channels in turn (red, green, blue, red, ...), "mean" the mean of all for each,
            "first" the first for each.

    Raises:
        UserError: it is none of these.
    """
    ways = {
        "repeat": np.eye(old)[np.arange(new) % old],
        "mean": np.full((new, old), 1 / old),
        "first": np.eye(old)[np.zeros(new, int)],
    }
    if way not in ways:
        raise UserError(f"channels_from={way!r} is not one of {', '.join(ways)}")
    return ways[way]


def mixed_statistics(mix: Mixture, mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return pixel mean and deviation of the new channels, that the mixed weights are meant for."""
    return (mix @ np.asarray(mean)).tolist(), (mix @ np.asarray(std)).tolist()


def mix_channels(weights: Weights, new: int, way: str, mean: Sequence[float], std: Sequence[float]) -> Weights:
    """Turn weights into those for images of another number of channels, and say so in their remarks.

    With "mean" an image whose channels are all the same gives the activations that it gave as one of the old channels,
    in whatever number of channels: differences between the old channels' statistics go into the bias.

    Args:
        new: channels of the model.
        way: see `mixture`.
        mean, std: pixel statistics of the old channels.

    Raises:
        UserError: the way is not known.
        CheckpointError: these are not the weights of one of our models.
    """
    model = weights.architecture()
    if (old := model.in_chans) in (None, new):
        return weights
    assert old is not None
    mix = mixture(way, old, new)
    arrays = {**weights.arrays, **_embedding(weights, mix, mean, std)}
    parts = "patch embedding, scaled so that activations keep their size"
    if f"{HEAD}.weight" in arrays:
        arrays |= {name: _mix_outputs(np.asarray(arrays[name]), mix) for name in (f"{HEAD}.weight", f"{HEAD}.bias")}
        parts += ", and prediction head"
    remark = f"adapted from {old} to {new} channels ({way}): {parts}"
    new_mean, new_std = mixed_statistics(mix, mean, std)
    metadata = replace(
        weights.metadata,
        in_chans=new,
        patch_size=model.patch_size,
        pixel_mean=tuple(new_mean),
        pixel_std=tuple(new_std),
        bands=None,
    )
    return replace(weights, arrays=arrays, metadata=metadata, remarks=[*weights.remarks, remark])


def _embedding(weights: Weights, mix: Mixture, mean: Sequence[float], std: Sequence[float]) -> dict[str, NDArray[Any]]:
    """Mix the embedding's inputs: the old channels see (x - mean) / std of theirs, the new ones of the mixed."""
    weight, bias = (np.asarray(weights.arrays[f"{EMBEDDING}.{name}"]) for name in ("weight", "bias"))
    new, old = mix.shape
    own = weight.astype(np.float64).reshape(-1, old, weight.shape[-1])  # [p*p, old, D]
    new_mean, new_std = map(np.asarray, mixed_statistics(mix, mean, std))
    share = mix * old / new  # [new, old]
    mixed = np.einsum("no,pod->pnd", share * new_std[:, None] / np.asarray(std), own)
    shift = share * (new_mean[:, None] - np.asarray(mean)) / np.asarray(std)
    moved = bias + np.einsum("no,pod->d", shift, own)
    return {
        f"{EMBEDDING}.weight": mixed.reshape(-1, weight.shape[-1]).astype(weight.dtype),
        f"{EMBEDDING}.bias": moved.astype(bias.dtype),
    }


def _mix_outputs(array: NDArray[Any], mix: Mixture) -> NDArray[Any]:
    """Mix the last axis [.., p*p*old] to [.., p*p*new]."""
    own = array.astype(np.float64).reshape(*array.shape[:-1], -1, mix.shape[1])  # [.., p*p, old]
    return (own @ mix.T).reshape(*array.shape[:-1], -1).astype(array.dtype)


_A = -0.75  # of the cubic kernel, as in PyTorch


def resize_positions(
    embedding: NDArray[Any], old: tuple[int, int], new: tuple[int, int], extra: int = 1
) -> NDArray[Any]:
    """Resize a position embedding; equals `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)`.

    Args:
        embedding: [1, extra + rows*columns, D].
        old, new: grids (rows, columns).
        extra: tokens in front that have no place (the class token).

    Returns:
        [1, extra + new rows * new columns, D] of the same dtype, computed in float64.
    """
    dim = embedding.shape[-1]
    grid = embedding[0, extra:].astype(np.float64).reshape(*old, dim)  # [h, w, D]
    rows, columns = _weights(old[0], new[0]), _weights(old[1], new[1])
    resized = np.einsum("ah,hwd,bw->abd", rows, grid, columns, optimize=True)  # [new h, new w, D]
    patches = resized.reshape(1, -1, dim).astype(embedding.dtype)
    return np.concatenate([embedding[:, :extra], patches], axis=1)


def _weights(old: int, new: int) -> NDArray[np.float64]:
    """Return [new, old]: what each old place gives to each new one; places beyond the edge are the edge's."""
    centers = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centers).astype(int)
    weights = np.zeros((new, old))
    for step in (-1, 0, 1, 2):
        places = np.clip(first + step, 0, old - 1)
        np.add.at(weights, (np.arange(new), places), _cubic(np.abs(centers - first - step)))
    return weights


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
