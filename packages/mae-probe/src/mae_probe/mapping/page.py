"""The page of a map: what its script reads, and the template."""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mae_core.report.page import Page, Section, template_environment
from mae_probe.mapping import scores
from mae_probe.mapping.embedding_map import LISTED, EmbeddingMap

if TYPE_CHECKING:
    from jinja2 import Environment

EXAMPLES = 24  # images whose patches stand in a section of their own


def render_map(made: EmbeddingMap) -> str:
    """Return the page as one HTML file."""
    found, labelled = made.found, bool((made.labels >= 0).any())
    patched = made.patch_rows.tolist()
    examples = [patched[i] for i in np.unique(np.linspace(0, len(patched) - 1, EXAMPLES).astype(int))]
    shown = {
        "examples": examples,
        "outliers": found.outliers(),
        "duplicates": found.duplicates[:LISTED],
        "doubtful": found.doubtful_labels(LISTED) if labelled else [],
    }
    anchors = {"map": "Map", "patches": "Patches", "outliers": "Outliers", "duplicates": "Near-duplicates"}
    anchors |= {"labels": "Doubtful labels"} if labelled else {}
    page = Page("Image map", made.summary(), made.source, [Section(title, [], name) for name, title in anchors.items()])
    return (
        _environment()
        .get_template("map.html")
        .render(
            page=page,
            version="",
            made=made,
            found=found,
            labelled=labelled,
            scores=scores,
            median=float(np.median(found.outlier_scores)),
            slots={row: slot for slot, row in enumerate(patched)},
            data=_script_data(made),
            **shown,
        )
    )


@cache
def _environment() -> "Environment":
    """Return the templates of reports with those of the map before them."""
    from jinja2 import ChoiceLoader, PackageLoader

    shared = template_environment()
    loaders = [PackageLoader("mae_probe.mapping"), shared.loader]
    return shared.overlay(loader=ChoiceLoader([loader for loader in loaders if loader]))


def _script_data(made: EmbeddingMap) -> dict[str, Any]:
    """Return what the script reads; numbers are rounded to what can be seen, for a smaller page."""
    found = made.found
    return {
        "paths": made.paths,
        "labels": made.labels.tolist(),
        "names": {str(label): name for label, name in made.names.items()},
        "planes": {name: _to_unit(plane).tolist() for name, plane in found.planes.items()},
        "neighbours": found.neighbours.tolist(),
        "cosines": (1000 * found.cosines).round().astype(int).tolist(),  # thousandths
        "outlier": (1000 * found.outlier_scores).round().astype(int).tolist(),
        "patches": made.patch_rows.tolist(),
        "columns": made.thumbnails.columns,
        "side": made.thumbnails.side,
        "patchColumns": made.patches.columns,
    }


def _to_unit(plane: NDArray[np.float32]) -> NDArray[np.int64]:
    """Scale a plane to 0 to 10,000 on both axes, of one scale each: [N, 2] -> [2 N]."""
    low, high = plane.min(axis=0), plane.max(axis=0)
    unit = (plane - low) / np.maximum(high - low, 1e-12)
    return (10_000 * unit).round().astype(np.int64).ravel()
