"""`mae-probe segment`: the class of each pixel from frozen patches, beside random weights and raw pixels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mae_core.errors import UserError
from mae_core.evaluation.segmentation import IGNORE, SegmentationScores
from mae_core.process import distributed, log
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import precision_of
from mae_core.stage.config.to_data_arguments import images_of
from mae_data.drawing import Row, ShownImages, draw_sheet
from mae_data.errors import DataError, ImageError
from mae_data.images.mask import read_mask
from mae_data.loading.mask_dataset import MaskDataset
from mae_data.sources.list_file import class_colours, read_classes
from mae_data.sources.mask_pairs import MaskPairs, open_pairs
from mae_probe.build import build_model, depth_of, load_encoder, shown_bands
from mae_probe.extraction.encoding import grid_of
from mae_probe.extraction.pooling import block_numbers
from mae_probe.segmentation.heads import EPOCHS, LR, KnnHead, LinearHead, PatchHead
from mae_probe.segmentation.patch_knn import MEMORY, NEIGHBOURS
from mae_probe.segmentation.score import Patches, PatchScoring, WholeImage, patch_pixels, patch_tokens, shrunk

FEATURES, RANDOM_INIT, RAW_PIXELS = "features", "random init", "raw pixels"
SHOWN = 6  # images on the sheet


def largest_class(pairs: MaskPairs, ignore: int) -> int:
    """Return the largest value of all masks, but for the one to ignore.

    Raises:
        DataError: a mask cannot be read; the message names its line and file.
        UserError: no mask has any, or they have one class alone.
    """
    largest = -1
    for index in range(len(pairs.masks)):
        try:
            mask = read_mask(pairs.masks.file(index))
        except ImageError as error:
            raise DataError(f"{pairs.masks.describe(index)}: {error.reason}") from error
        values = mask[mask != ignore]
        largest = max(largest, int(values.max()) if values.size else -1)
    if largest < 1:
        raise UserError(
            f"{pairs.masks.name}: the masks have {'one class' if not largest else 'no class'}; nothing to tell apart"
        )
    return largest


@dataclass(frozen=True)
class Choices:
    """What is chosen on the command line.

    Args:
        head: "knn" or "linear".
        block: number of the block whose tokens are used, from 0, or from the end if negative.
        k, memory: of kNN.
        whiten: of kNN; raw pixels stay as they are, for they do worse with it.
        epochs, lr: of the linear head.
        ignore: value of pixels in masks that do not count.
    """

    head: str = "knn"
    block: int = -1
    k: int = NEIGHBOURS
    memory: int = MEMORY
    whiten: bool = False
    epochs: int = EPOCHS
    lr: float = LR
    ignore: int = IGNORE

    def __post_init__(self) -> None:
        for name in ("k", "memory", "epochs", "lr"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name} {getattr(self, name)} is not positive")
        if self.whiten and self.head != "knn":
            raise UserError("--whiten is for --head knn: the batch norm of a linear layer scales features anyway")
        if not 0 <= self.ignore <= 65535:
            raise UserError(f"--ignore {self.ignore} is no value of a mask; use 0 to 65535")

    def head_for(self, scoring: PatchScoring, seed: int, name: str) -> PatchHead:
        """Make a head that learns from the training set the classes of patches of a name."""
        make: Callable[..., PatchHead] = (
            partial(KnnHead, size=self.memory, k=self.k, whiten=self.whiten and name != RAW_PIXELS)
            if self.head == "knn"
            else partial(LinearHead, epochs=self.epochs, lr=self.lr)
        )
        return make(scoring.train.classes, self.ignore, scoring.grid, len(scoring.train), seed=seed)


@dataclass(frozen=True)
class Segmented:
    """What `segment` found.

    Attributes:
        names: of the classes.
        scores: of the features and of what they are compared with, by name.
        sheet: image, truth, prediction and mistakes of some images.
    """

    names: list[str]
    scores: dict[str, SegmentationScores]
    sheet: Image.Image

    def lines(self) -> list[str]:
        """Say it: a line for all classes, and a table of the IoU of each."""
        lines = []
        for name, scores in self.scores.items():
            figures = scores.figures()
            lines.append(
                f"{name}: mIoU {figures['miou']:.2f} pixel accuracy {figures['pixel_accuracy']:.2f}"
                f" class accuracy {figures['class_accuracy']:.2f}"
            )
        width = max(map(len, ("IoU", *self.names)))
        lines.append("IoU".ljust(width) + "".join(f"{name:>13}" for name in self.scores))
        columns = [100 * scores.iou() for scores in self.scores.values()]
        for number, name in enumerate(self.names):
            cells = ("-" if np.isnan(column[number]) else f"{column[number]:.2f}" for column in columns)
            lines.append(name.ljust(width) + "".join(f"{cell:>13}" for cell in cells))
        return lines

    def figures(self) -> dict[str, object]:
        """Return the same for programs; the IoU of a class that does not occur is None."""
        return {name.replace(" ", "_"): self._figures(scores) for name, scores in self.scores.items()}

    def _figures(self, scores: SegmentationScores) -> dict[str, object]:
        each = [None if np.isnan(iou) else 100 * float(iou) for iou in scores.iou()]
        return {**scores.figures(), "iou": each, "confusion": scores.confusion.astype(np.int64).tolist()}


def segment(opened: Opened, choices: Choices) -> Segmented:
    """Fit a head on the patches of the training images and score it on those of validation.

    Images are resized whole to the model's size, whatever their shape; scores are over all pixels of the masks at
    their own size.

    Args:
        opened: the config, and the weights that it names.

    Raises:
        UserError: started on several ranks, no weights or wrong ones, choices that cannot be.
        DataError: an image or a mask cannot be used; the message names its line and file.
    """
    if distributed.world_size() > 1:
        raise UserError("segment runs on one process: start it without other ranks")
    log.setup(True)
    config = opened.config
    (block,) = block_numbers([choices.block], depth_of(config))
    names = _class_names(config, choices.ignore)
    train, val = (
        _dataset(config, name, len(names), choices.ignore) for name in (config.DATA.TRAIN_LIST, config.DATA.VAL_LIST)
    )
    scoring = PatchScoring(config, train, val, grid_of(config), precision_of(config))
    shown = np.unique(np.linspace(0, len(scoring.val) - 1, SHOWN).round().astype(int)).tolist()
    scores, predictions = dict[str, SegmentationScores](), dict[int, NDArray[np.integer]]()
    for name, patches in _encoders(opened, block).items():
        scores[name], kept = scoring.score(choices.head_for(scoring, config.SEED, name), patches, shown)
        predictions = predictions or kept
        log.LOGGER.info(f"{choices.head} on {name}: mIoU {scores[name].figures()['miou']:.2f}")
    colours = class_colours(config.DATA.DATA_PATH, len(names))
    sheet = draw_sheet(_rows(config, scoring.val, predictions), names, colours, choices.ignore)
    return Segmented(names, scores, sheet)


def _class_names(config: Config, ignore: int) -> list[str]:
    """Return the names of classes.txt, or numbers up to the largest value of the training masks."""
    d = config.DATA
    if names := read_classes(d.DATA_PATH):
        return names
    pairs = open_pairs(d.DATA_PATH, d.TRAIN_LIST, allow_outside=d.ALLOW_OUTSIDE, opt_in="DATA.ALLOW_OUTSIDE True")
    count = largest_class(pairs, ignore) + 1
    log.LOGGER.info(
        f"{count} classes, as the training masks have values up to {count - 1}; classes.txt would name them"
    )
    return [str(number) for number in range(count)]


def _dataset(config: Config, list_name: str, classes: int, ignore: int) -> MaskDataset:
    height, width = (side * config.MODEL.PATCH_SIZE for side in grid_of(config))
    whole, images = WholeImage((height, width)), images_of(config, "optional")
    return MaskDataset(list_file=list_name, transform=whole, classes=classes, ignore=ignore, **images)


def _encoders(opened: Opened, block: int) -> Mapping[str, Patches]:
    """Return what makes patches by name: of the weights first, then what they have to beat."""
    config, initial = opened.config, build_model(opened.config)
    initial.eval()
    beside = {RANDOM_INIT: patch_tokens(initial, block), RAW_PIXELS: patch_pixels(initial)}
    if config.MODEL.RANDOM_INIT:
        return beside
    model = build_model(config)
    load_encoder(config, opened.weights, model, "segment")
    model.eval()
    return {FEATURES: patch_tokens(model, block), **beside}


def _rows(config: Config, dataset: MaskDataset, predictions: Mapping[int, NDArray[np.integer]]) -> Sequence[Row]:
    images = ShownImages(dataset, shown_bands(config))
    rows = []
    for index, found in predictions.items():
        picture = images.picture(index)
        size = picture.shape[0], picture.shape[1]
        rows.append((picture, shrunk(dataset.mask(index), size), shrunk(found, size)))
    return rows
