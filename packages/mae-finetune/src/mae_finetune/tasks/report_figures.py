"""What `-eval` of the tasks with rows of numbers logs and writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.tables import write_scores, write_table
from mae_core.process import distributed, log
from mae_core.training.meters import spoken_speed


def report_figures(
    figures: Mapping[str, float],
    spoken: Mapping[str, str],
    images: int,
    seconds: float,
    output: str,
    kind: str,
    names: Sequence[str],
    each: Mapping[str, NDArray[np.float64]],
) -> dict[str, float]:
    """Log the figures, write `scores.json` and `per_KIND.csv` to `output/eval`, and return the figures.

    Args:
        spoken: how those that are logged are said.
        images: that were scored.
        seconds: how long scoring took.
        kind: what is said of an image: "label" or "number".
        names: of each of T.
        each: columns of the table, [T].

    Returns:
        the figures, images and images_per_s.
    """
    whole = {**figures, "images": images, "images_per_s": images / seconds}
    words = ", ".join(said.format(figures[name]) for name, said in spoken.items())
    log.LOGGER.info(f"{images} images: {words}; {spoken_speed(whole['images_per_s'])}")
    folder = Path(output) / "eval"
    if distributed.is_main():
        write_scores(folder, whole)
        rows = ([i, name, *(_cell(column[i]) for column in each.values())] for i, name in enumerate(names))
        write_table(folder / f"per_{kind}.csv", [[kind, "name", *each], *rows])
    log.LOGGER.info(f"tables in {folder}")
    return whole


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
