"""Scoring a segmentation model: whole images by windows, all pixels at the masks' own size; and what `-eval` writes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paddle import nn

from mae_core.evaluation.segmentation import SegmentationScores
from mae_core.evaluation.tables import write_scores, write_table
from mae_core.files import png_bytes, refuse_unwritable, write_output
from mae_core.process import distributed, log
from mae_core.training.meters import spoken_speed
from mae_core.training.precision import Precision
from mae_data.drawing import Row, ShownBands, draw_sheet
from mae_data.images.native_code import Size
from mae_data.loading.mask_dataset import Classes, MaskDataset
from mae_data.transforms.crops import resized_crop
from mae_data.transforms.pipelines import Picture
from mae_finetune.segmentation.sliding import Segmenter

SHOWN, SIDE = 6, 192  # images that are drawn, and their longer side in pixels
MOSAIC = "mosaic.png"
_PER_LINE = 8  # classes in a line of the log


@dataclass
class MaskCounts:
    """What was counted.

    Attributes:
        scores: of all pixels.
        images: how many images were scored.
        rows: picture, truth and prediction of some of them, on the main rank.
    """

    scores: SegmentationScores
    images: int = 0
    rows: list[Row] = field(default_factory=list)

    def add(
        self, outputs: NDArray[np.floating], targets: NDArray[np.integer], indices: NDArray[np.int64] | None = None, /
    ) -> None:
        """Count logits [..., K, H, W] of masks [..., H, W]."""
        self.scores.add(outputs.argmax(axis=-3), targets)

    def remark(self) -> str:
        """Say that all pixels are taken for one class, though they are of several; empty where they are not."""
        taken, true = (np.flatnonzero(self.scores.confusion.sum(axis=axis)) for axis in (0, 1))
        if len(taken) != 1 or len(true) < 2:
            return ""
        return f"all pixels are taken for class {int(taken[0])}: train longer, or at another learning rate"

    def sum_over_ranks(self) -> None:
        """Add the counts of all ranks, on every rank."""
        self.scores.sum_over_ranks()
        self.images = int(distributed.sum_over_ranks([float(self.images)])[0])


class MaskScoring:
    """Scores a model on this rank's share of a list.

    Args:
        dataset: images and masks.
        shown: how images are drawn.
        batch_size: windows in a forward pass.
    """

    def __init__(self, dataset: MaskDataset, shown: ShownBands, batch_size: int) -> None:
        self.dataset, self.shown, self.batch_size = dataset, shown, batch_size

    def counts(self) -> MaskCounts:
        """Return empty counts."""
        return MaskCounts(SegmentationScores(self.dataset.classes, self.dataset.ignore))

    def score(
        self, model: nn.Layer, precision: Precision, should_stop: Callable[[], bool] = lambda: False
    ) -> MaskCounts | None:
        """Score a model in evaluation mode; None when any rank was asked to stop early."""
        counts = self.counts()
        own = range(distributed.rank(), len(self.dataset), distributed.world_size())
        drawn = set(np.linspace(0, len(own) - 1, SHOWN).round().astype(int).tolist()) if distributed.is_main() else {}
        opened: dict[str, tuple[int, Picture, Classes]] = {}
        found: list[NDArray[np.integer]] = []
        stopped = False
        segmenter = Segmenter(model, precision, batch_size=self.batch_size)
        for strip in segmenter.segment(self._pictures(own, opened)):
            if stopped := should_stop():
                break
            place, picture, mask = opened[strip.name]
            scores = strip.scores.numpy()
            counts.add(scores, mask[strip.top : strip.top + scores.shape[1]])
            if place in drawn:
                found.append(scores.argmax(axis=0))
            if not strip.last:
                continue
            counts.images += 1
            if place in drawn:
                counts.rows.append(self._row(picture, mask, np.concatenate(found)))
                found = []
            del opened[strip.name]
        if distributed.sum_over_ranks([float(stopped)])[0]:
            return None
        counts.sum_over_ranks()
        if remark := counts.remark():
            log.LOGGER.info(remark)
        return counts

    def _pictures(
        self, own: Sequence[int], opened: dict[str, tuple[int, Picture, Classes]]
    ) -> Iterator[tuple[str, Picture]]:
        for place, index in enumerate(own):
            if (whole := self.dataset.whole(index)) is not None:
                name = self.dataset.images.describe(index)
                opened[name] = place, *whole
                yield name, whole[0]

    def _row(self, picture: Picture, truth: Classes, found: NDArray[np.integer]) -> Row:
        """Shrink an image and its masks to a square whose rest is ignored."""
        whole = picture.height, picture.width
        share = SIDE / max(whole)
        size = max(1, round(whole[0] * share)), max(1, round(whole[1] * share))
        limits = self.dataset.limits
        pixels = resized_crop(picture, (0, 0, *whole), size).astype(np.float32)
        image = np.full((SIDE, SIDE, len(self.shown.bands)), 255, np.uint8)
        image[: size[0], : size[1]] = self.shown((pixels - limits.low) / limits.span)
        return image, _shrunk(truth, size, self.dataset.ignore), _shrunk(found, size, self.dataset.ignore)


def _shrunk(mask: NDArray[np.integer], size: Size, ignore: int) -> NDArray[np.integer]:
    rows, columns = (
        (2 * np.arange(side) + 1) * length // (2 * side) for side, length in zip(size, mask.shape, strict=True)
    )
    square = np.full((SIDE, SIDE), ignore, np.int64)
    square[: size[0], : size[1]] = mask[rows[:, None], columns[None]]
    return square


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
