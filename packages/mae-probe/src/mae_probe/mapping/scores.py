"""What a map shows of features: neighbours, outliers, near-duplicates, doubtful labels and two axes, in NumPy."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.evaluation.features import fit_whitening, highest
from mae_core.process.installation import pip_install

K = 10  # neighbours
DUPLICATE = 0.97  # cosine from which two images are listed as near-duplicates
DOUBTFUL = 0.8  # share of neighbours of other labels from which a label is listed
_FEWEST, _MOST = 16, 64  # directions that are compared; between them an eighth of the number of images
_QUERIES = 512  # rows compared with all rows at a time


def whitened(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make rows that a map compares.

    Features [N, D] are whitened (`mae_core.evaluation.features.fit_whitening`) and cut to their first R principal
    directions: a few directions hold nearly all of the length of MAE's features, and without that any two images have
    a cosine near 1. R is N / 8, at least 16 and at most 64: with as many directions as images all would be equally far
    from each other, and in directions of little variance copies differ as much as other images.

    Returns:
        float32 [N, R].

    Raises:
        UserError: the features do not vary.
    """
    try:
        whitening = fit_whitening(features)
    except ValueError as error:
        raise UserError(f"{error}; a map needs images that the encoder tells apart") from None
    kept = max(_FEWEST, min(_MOST, len(features) // 8))
    return replace(whitening, directions=whitening.directions[:, :kept])(features)


def nearest(rows: NDArray[np.float32], k: int = K) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the k rows of highest cosine to each row, itself left out.

    Args:
        rows: [N, R] of length 1.
        k: at most N - 1.

    Returns:
        int64 and float32 [N, k]: their numbers and cosines, the highest first.
    """
    found, cosines = [], []
    for start in range(0, len(rows), _QUERIES):
        products = rows[start : start + _QUERIES] @ rows.T  # [n, N]
        own = np.arange(len(products))
        products[own, start + own] = -np.inf
        found.append(highest(products, k))
        cosines.append(np.take_along_axis(products, found[-1], axis=1))
    return np.concatenate(found), np.concatenate(cosines)


def outlier_scores(rows: NDArray[np.float32], neighbours: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how far each image is from its neighbours: the mean Euclidean distance to its k nearest, [N].

    Args:
        rows: [N, R], whitened, of any length: cosines alone see no outlier, as it may lie in a usual direction far out.
        neighbours: [N, k].
    """
    distances = (np.linalg.norm(rows[near] - row, axis=1) for row, near in zip(rows, neighbours, strict=True))
    return np.array([of_image.mean() for of_image in distances], np.float32)


def near_duplicates(
    neighbours: NDArray[np.int64], cosines: NDArray[np.float32], bound: float = DUPLICATE
) -> list[tuple[int, int, float]]:
    """List pairs of neighbours with cosine >= bound, each once, as (first, second, cosine), the highest first."""
    first, column = np.nonzero(cosines >= bound)
    ends = np.sort(np.stack([first, neighbours[first, column]], axis=1), axis=1).tolist()
    pairs = dict(zip(map(tuple, ends), cosines[first, column].tolist(), strict=True))
    return sorted(((i, j, cosine) for (i, j), cosine in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))


def label_doubts(neighbours: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how doubtful each label is: the share of the k nearest images that have another label, [N].

    Neighbours without a label (-1) do not count, neither above nor below the line; an image without one, or without a
    neighbour that has one, gets 0.
    """
    theirs = labels[neighbours]  # [N, k]
    known = (theirs >= 0) & (labels >= 0)[:, None]
    others = known & (theirs != labels[:, None])
    shares = others.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return shares.astype(np.float32)


def principal_plane(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project centred features on their two principal directions, each with its largest entry positive: [N, 2]."""
    centred = features - features.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    return (centred @ _upright(directions[:, :-3:-1])).astype(np.float32)


def patch_colours(tokens: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Show patch tokens as colours: their first three principal components as red, green and blue.

    The components are those of all patches of all images together, so that a colour means the same in each picture;
    percentiles 1 and 99 of each component are its darkest and its lightest.

    Args:
        tokens: [N, L, D].

    Returns:
        uint8 [N, L, 3].
    """
    flat = tokens.reshape(-1, tokens.shape[2]).astype(np.float32)
    flat -= flat.mean(axis=0)
    _, directions = np.linalg.eigh(flat.T.astype(np.float64) @ flat)
    shown = flat @ _upright(directions[:, :-4:-1]).astype(np.float32)  # [N*L, 3]
    low, high = np.percentile(shown, [1, 99], axis=0)
    unit = ((shown - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    return (255 * unit).round().astype(np.uint8).reshape(*tokens.shape[:2], 3)


def _upright(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn directions [D, R] so that the largest entry of each is positive; else their signs are chance."""
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
    return directions * np.sign(largest)


def require_umap() -> None:
    """Raise UserError with the install command where umap-learn is missing."""
    if find_spec("umap") is None:
        raise UserError(f"--umap needs umap-learn: {pip_install('mae-probe', 'umap')}")


def umap_plane(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay rows [N, R] out on [N, 2] by UMAP (McInnes et al., arXiv 1802.03426): cosine, 15 neighbours, seed 0.

    Raises:
        UserError: umap-learn is missing.
    """
    require_umap()
    from umap import UMAP

    reducer = UMAP(n_neighbors=min(15, len(rows) - 1), metric="cosine", random_state=0, n_jobs=1)
    return np.asarray(reducer.fit_transform(rows), np.float32)
