"""Other test sets than the validation list: labels by folder names, outputs that take no part, ImageNet-C.

ImageNet-C (Hendrycks & Dietterich, arXiv 1903.12261) has errors by corruption, and their mean over AlexNet's (mCE).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import ConfigError
from mae_core.evaluation.scores import Scores
from mae_core.stage.config.yaml_file import read_yaml
from mae_data.errors import DataError
from mae_data.sources.source import Source

SEVERITIES = 5

# AlexNet's error, mean over the severities, as published with the data set.
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}


def read_class_map(path: str | Path, num_classes: int) -> dict[str, int]:
    """Read `CLASS_FOLDER OUTPUT` lines, such as `n01440764 0`; blank lines and lines that begin with # are skipped.

    Raises:
        ConfigError: the file cannot be read, or a line of it is not of this form.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"ROBUST.CLASS_MAP={path} cannot be read: {error}") from None
    outputs: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.strip().rsplit(None, 1)  # a folder's name may hold spaces
        if not words or line.startswith("#"):
            continue
        if len(words) != 2 or not words[1].isdigit() or int(words[1]) >= num_classes or words[0] in outputs:
            raise ConfigError(
                f"{path}:{number}: {line.strip()!r} is not `CLASS_FOLDER OUTPUT` with each folder once"
                f" and an output from 0 to {num_classes - 1} (MODEL.NUM_CLASSES)"
            )
        outputs[words[0]] = int(words[1])
    if not outputs:
        raise ConfigError(f"ROBUST.CLASS_MAP={path} holds no `CLASS_FOLDER OUTPUT` line")
    return outputs


def map_labels(images: Source, outputs: Mapping[str, int]) -> NDArray[np.int64]:
    """Return each image's output, int64 [N], from the folder it lies in.

    Raises:
        DataError: an image's folder is not in the map.
    """
    labels = np.empty(len(images), dtype=np.int64)
    for i in range(len(images)):
        folder = os.path.basename(os.path.dirname(images.path(i)))
        if folder not in outputs:
            raise DataError(f"{images.describe(i)}: its folder {folder!r} is not in ROBUST.CLASS_MAP")
        labels[i] = outputs[folder]
    return labels


def read_errors(path: str | None) -> dict[str, float]:
    """Read the errors to divide by from a YAML file of `corruption: error`; AlexNet's published ones for None.

    Raises:
        ConfigError: the file is not of this form.
    """
    if path is None:
        return dict(ALEXNET_ERRORS)
    errors: dict[str, float] = {}
    for name, value in read_yaml(Path(path)).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise ConfigError(f"{path}: {name}={value!r} is not an error above 0 and up to 1")
        errors[name] = float(value)
    if not errors:
        raise ConfigError(f"{path} holds no `corruption: error`")
    return errors


def group_images(images: Source, corruptions: Sequence[str]) -> NDArray[np.int64]:
    """Return each image's group, int64 [N]: corruption number * 5 + severity - 1, from its path.

    Raises:
        DataError: a path does not begin with a known corruption and a severity.
    """
    number = {name: i for i, name in enumerate(corruptions)}
    groups = np.empty(len(images), dtype=np.int64)
    for i in range(len(images)):
        parts = images.path(i).split("/")
        if len(parts) < 3 or parts[0] not in number or parts[1] not in "12345" or len(parts[1]) != 1:
            raise DataError(
                f"{images.describe(i)}: the path does not begin with CORRUPTION/SEVERITY/,"
                f" a severity from 1 to {SEVERITIES} and a corruption of {', '.join(corruptions)}"
            )
        groups[i] = number[parts[0]] * SEVERITIES + int(parts[1]) - 1
    return groups


def require_every_group(groups: NDArray[np.int64], corruptions: Sequence[str]) -> None:
    """Require images of every corruption at every severity, for mCE is their mean.

    Raises:
        DataError: some have none; all such are named.
    """
    counts = np.bincount(groups, minlength=len(corruptions) * SEVERITIES)
    empty = [f"{corruptions[i // SEVERITIES]}/{i % SEVERITIES + 1}" for i in np.flatnonzero(counts == 0)]
    if empty:
        raise DataError(f"mCE needs every corruption at every severity; there is no image of {', '.join(empty)}")


def corruption_errors(groups: NDArray[np.float64], references: Mapping[str, float]) -> dict[str, float]:
    """Return the corruption errors in percent of the reference's, and `mCE`, their mean.

    Args:
        groups: [5 * corruptions, 2], images (of every group) and hits, in the order of `references`.
        references: the reference model's error, mean over severities, by corruption.
    """
    counts = groups.reshape(len(references), SEVERITIES, 2)
    errors = (1.0 - counts[..., 1] / counts[..., 0]).mean(axis=1)  # [corruptions]
    relative = {name: 100.0 * float(errors[i]) / reference for i, (name, reference) in enumerate(references.items())}
    return {**relative, "mCE": float(np.mean(list(relative.values())))}


class RobustScores(Scores):
    """Counts of an evaluation, and of groups of its images.

    Args:
        labels: int64 [N], the model output that each image should give.
        absent: bool [K], outputs that do not take part.
        group_of: int64 [N], the group of each image; None where none are wanted.
        num_groups: how many groups there are.

    Attributes:
        groups: float64 [num_groups, 2], images and hits.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        absent: NDArray[np.bool_],
        group_of: NDArray[np.int64] | None = None,
        num_groups: int = 0,
    ) -> None:
        super().__init__(len(absent), len(labels))
        self.groups = np.zeros((num_groups, 2))
        self._labels, self._absent, self._group_of = labels, absent, group_of

    def add(
        self, logits: NDArray[np.floating], labels: NDArray[np.int64], indices: NDArray[np.int64] | None = None
    ) -> None:
        """Count a batch by the labels given to the constructor, whatever those of the batch are."""
        assert indices is not None  # an evaluation has them
        logits, labels = np.where(self._absent, -np.inf, logits), self._labels[indices]
        super().add(logits, labels, indices)
        if self._group_of is not None:
            groups = self._group_of[indices]
            np.add.at(self.groups[:, 0], groups, 1)
            np.add.at(self.groups[:, 1], groups[logits.argmax(axis=1) == labels], 1)

    def counts(self) -> tuple[NDArray[np.float64], ...]:
        """Return the arrays that are added over ranks."""
        return *super().counts(), self.groups
