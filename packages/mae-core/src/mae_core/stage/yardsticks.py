"""`yardsticks.json`: what logistic regression reaches for the labels of a classifier's run, to stand beside it.

It is measured before the first step, so that nobody trains a network for what a line does better: with few labels per
class it often does. Only where that is cheap beside the training.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.evaluation.logistic import has_sklearn, logistic_regression
from mae_core.files import write_atomic
from mae_core.process import distributed, log

FILE = "yardsticks.json"
MOST_IMAGES = 5000  # training images: more take minutes to fit, and fine-tuning has labels enough
MOST_WORK = 250_000  # training images times classes, which the fit takes longer by: half a minute with raw pixels
MOST_SCORED = 50_000  # validation images, whose pixels and features lie in memory
NAMES = {"features": "frozen features", "random_init": "random init", "raw_pixels": "raw pixels"}
Rows = NDArray[np.float32]


def are_affordable(images: int, scored: int, classes: int) -> bool:
    """Return whether yardsticks are measured beside a run of so many images to train and to score, and classes.

    What is missing for it is logged.
    """
    if images > min(MOST_IMAGES, MOST_WORK // classes) or scored > MOST_SCORED or distributed.world_size() > 1:
        return False
    if not has_sklearn():
        log.LOGGER.info("no logistic regression beside this run, which may well beat it: pip install scikit-learn")
    return has_sklearn()


def measure(
    folder: Path,
    train: Mapping[str, Rows],
    train_labels: NDArray[np.int64],
    val: Mapping[str, Rows],
    val_labels: NDArray[np.int64],
) -> None:
    """Score logistic regression, C = 1, by each kind of features; log it and write it into the run's folder.

    Args:
        train, val: features [N, D] and [M, D] by their names in NAMES.
        train_labels, val_labels: classes, from 0.
    """
    started = time.perf_counter()
    try:
        found = {
            name: logistic_regression(rows, train_labels, val[name], val_labels)["top1"] for name, rows in train.items()
        }
    except UserError as error:  # the run itself may do with it
        log.LOGGER.info(f"no logistic regression beside this run: {error}")
        return
    figures = {"logistic": found, "C": 1.0, "train_images": len(train_labels), "images": len(val_labels)}
    write_atomic(folder / FILE, (json.dumps(figures, indent=1) + "\n").encode())
    said = ", ".join(f"{NAMES[name]} {top1:.2f}" for name, top1 in found.items())
    seconds = time.perf_counter() - started
    log.LOGGER.info(
        f"to beat: top-1 of logistic regression for these {len(train_labels):,} labels: {said} ({seconds:.1f} s)"
    )
