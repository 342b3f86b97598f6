"""Features of random weights, and raw pixels, for the yardsticks of a probe of cached features."""

from pathlib import Path

from mae_core.stage import yardsticks
from mae_core.stage.config.node import Config
from mae_core.training.precision import Precision
from mae_data.loading.dataset import ListDataset
from mae_probe.build import build_model, eval_dataset
from mae_probe.extraction.encoding import encode_parts, own_pool
from mae_probe.extraction.pooling import PIXELS, Part


def measure_yardsticks(config: Config, images: ListDataset, precision: Precision, folder: Path) -> None:
    """Write what logistic regression, a linear probe too, makes of random weights and of raw pixels.

    Args:
        images: to train, without augmentation.
        folder: of the run.
    """
    if not config.VALIDATE_FREQ:
        return
    lists = (images, eval_dataset(config, config.DATA.VAL_LIST, dropping=True))
    if not yardsticks.are_affordable(len(images), len(lists[1]), config.MODEL.NUM_CLASSES):
        return
    initial = build_model(config)
    initial.eval()
    names = {"random_init": Part(own_pool(config), random_init=True), "raw_pixels": Part(PIXELS)}
    train, val = (encode_parts(config, initial, dataset, precision, list(names.values())) for dataset in lists)
    labels = [found[Part(PIXELS)].labels for found in (train, val)]
    rows = [{name: found[part].features for name, part in names.items()} for found in (train, val)]
    yardsticks.measure(folder, rows[0], labels[0], rows[1], labels[1])
