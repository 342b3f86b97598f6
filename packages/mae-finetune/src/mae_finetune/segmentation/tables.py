"""What `-eval` of a segmentation model says and writes: figures, a table of the classes, their confusion, a mosaic."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.evaluation.segmentation import SegmentationScores
from mae_core.evaluation.tables import write_scores, write_table
from mae_core.files import png_bytes, refuse_unwritable, write_output
from mae_core.process import distributed, log
from mae_core.training.meters import spoken_speed
from mae_data.drawing import draw_sheet
from mae_finetune.segmentation.scoring import MaskCounts

MOSAIC = "mosaic.png"
_PER_LINE = 8  # classes in a line of the log


def report_masks(
    counts: MaskCounts, seconds: float, output: str, names: Sequence[str], colours: NDArray[np.uint8]
) -> dict[str, float]:
    """Log the figures, write scores.json, per_class.csv, confusion.csv and mosaic.png to `output/eval`.

    Args:
        seconds: how long scoring took.
        names: of the K classes.
        colours: uint8 [K, 3].

    Returns:
        miou, pixel_accuracy, class_accuracy, images and images_per_s.
    """
    scores = counts.scores
    figures = scores.figures() | {"images": counts.images, "images_per_s": counts.images / seconds}
    log.LOGGER.info(
        f"{counts.images} images: mIoU {figures['miou']:.2f} pixel accuracy {figures['pixel_accuracy']:.2f}"
        f" class accuracy {figures['class_accuracy']:.2f}; {spoken_speed(figures['images_per_s'])}"
    )
    said = [
        f"{name} {'-' if np.isnan(iou) else f'{100 * iou:.2f}'}" for name, iou in zip(names, scores.iou(), strict=True)
    ]
    for start in range(0, len(said), _PER_LINE):
        log.LOGGER.info(f"IoU: {', '.join(said[start : start + _PER_LINE])}")
    if distributed.is_main():
        folder = Path(output) / "eval"
        write_scores(folder, figures | {"iou": _by_name(names, scores)})
        write_table(folder / "per_class.csv", _per_class(names, scores))
        write_table(folder / "confusion.csv", scores.confusion.astype(np.int64).tolist())  # pixels; row: true class
        if counts.rows:
            sheet = draw_sheet(counts.rows, names, colours, scores.ignore)
            with refuse_unwritable(folder):
                write_output(folder / MOSAIC, png_bytes(sheet.save))
    log.LOGGER.info(f"tables in {output}/eval")
    return figures


def _by_name(names: Sequence[str], scores: SegmentationScores) -> dict[str, float | None]:
    return {name: None if np.isnan(iou) else 100.0 * float(iou) for name, iou in zip(names, scores.iou(), strict=True)}


def _per_class(names: Sequence[str], scores: SegmentationScores) -> Iterable[list[object]]:
    yield ["class", "name", "pixels", "predicted", "iou", "accuracy", "precision"]
    for c, name in enumerate(names):
        hits, true, said = (
            float(n) for n in (scores.confusion[c, c], scores.confusion[c].sum(), scores.confusion[:, c].sum())
        )
        shares = ((hits, true + said - hits), (hits, true), (hits, said))
        yield [c, name, int(true), int(said), *(f"{100 * part / of:.4f}" if of else "" for part, of in shares)]
