"""A map of images: what is found in their features, and the page that shows it."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.features import unit
from mae_core.files import refuse_unwritable, write_output
from mae_probe.mapping import scores
from mae_probe.mapping.sprite import Sprite

LISTED = 48  # of outliers, of pairs of near-duplicates, of doubtful labels
PATCH_PICTURES = 500  # images whose patches are shown as colours


@dataclass(frozen=True, repr=False)
class Findings:
    """What is found in features [N, D]; see `mapping.scores` for each score.

    Attributes:
        neighbours: int64 [N, k], the nearest images of each.
        cosines: float32 [N, k], of whitened features; see `scores.whitened`.
        outlier_scores: float32 [N], mean distance to the k neighbours.
        duplicates: (first, second, cosine) of pairs with cosine >= 0.97, the highest first.
        label_doubts: float32 [N], share of the k neighbours that have another label; 0 without labels.
        planes: float32 [N, 2] by name: "PCA", and "UMAP" where that was asked for.
    """

    neighbours: NDArray[np.int64]
    cosines: NDArray[np.float32]
    outlier_scores: NDArray[np.float32]
    duplicates: list[tuple[int, int, float]]
    label_doubts: NDArray[np.float32]
    planes: dict[str, NDArray[np.float32]]

    def outliers(self, most: int = LISTED) -> list[int]:
        """Return the images of the largest outlier scores, the largest first."""
        order = np.argsort(-self.outlier_scores, kind="stable")
        return [int(i) for i in order[: min(most, len(order) // 10 or 1)]]

    def doubtful_labels(self, most: int | None = None) -> list[int]:
        """Return the images with label_doubts >= 0.8, the most doubtful first, then those of nearer neighbours."""
        order = np.lexsort((self.outlier_scores, -self.label_doubts))
        return [int(i) for i in order if self.label_doubts[i] >= scores.DOUBTFUL][:most]


def examine(features: NDArray[np.float32], labels: NDArray[np.int64], umap: bool = False) -> Findings:
    """Look for neighbours, outliers, near-duplicates and doubtful labels.

    Args:
        features: [N, D] of three images or more.
        labels: int64 [N]; -1 where there is none.
        umap: lay the images out by UMAP, too.

    Raises:
        UserError: the features do not vary, or umap-learn is missing.
    """
    whitened = scores.whitened(features)
    rows = unit(whitened)
    neighbours, cosines = scores.nearest(rows, min(scores.K, len(rows) - 1))
    planes = {"PCA": scores.principal_plane(features)} | ({"UMAP": scores.umap_plane(rows)} if umap else {})
    return Findings(
        neighbours,
        cosines,
        scores.outlier_scores(whitened, neighbours),
        scores.near_duplicates(neighbours, cosines),
        scores.label_doubts(neighbours, labels),
        planes,
    )


@dataclass(frozen=True, repr=False)
class EmbeddingMap:
    """A folder seen through an encoder; `write` makes the page.

    Attributes:
        source: what the images are of, and the model, in words.
        paths: N of them, as the source names them.
        labels: int64 [N]; -1 where there is none.
        names: of the labels.
        features: float32 [N, D].
        found: what is found in them.
        thumbnails: of the images, as the model sees them.
        patches: of the images `patch_rows`, the first three principal components of their patch features.
        patch_rows: int64 [M].
    """

    source: str
    paths: list[str]
    labels: NDArray[np.int64]
    names: dict[int, str]
    features: NDArray[np.float32]
    found: Findings
    thumbnails: Sprite
    patches: Sprite
    patch_rows: NDArray[np.int64]

    def html(self) -> str:
        """Return the page: one HTML file that needs nothing beside it.

        Raises:
            UserError: jinja2 is not installed.
        """
        from mae_probe.mapping.page import render_map

        return render_map(self)

    def write(self, path: str | PathLike[str]) -> None:
        """Write the page, whole or not at all.

        Raises:
            UserError: the disk refused, or jinja2 is not installed.
        """
        html = self.html().encode("utf-8", "replace")
        with refuse_unwritable(Path(path)):
            write_output(Path(path), html)

    def summary(self) -> str:
        """Return how much was found, in words."""
        doubtful = f", {len(self.found.doubtful_labels()):,} doubtful labels" if (self.labels >= 0).any() else ""
        return f"{len(self.paths):,} images, {len(self.found.duplicates):,} pairs of near-duplicates{doubtful}"

    def __repr__(self) -> str:
        return f"EmbeddingMap({self.summary()})"
