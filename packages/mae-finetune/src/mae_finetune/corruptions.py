"""ImageNet-C (Hendrycks & Dietterich, arXiv 1903.12261): errors by corruption, and their mean over AlexNet's."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import ConfigError
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
