"""What a picture shows of an image of any channels and range: which bands, and between which values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_DEVIATIONS = 2.5  # around the mean, what is shown between black and white


@dataclass(frozen=True)
class ShownBands:
    """How images become pictures; see `choose_bands`.

    Attributes:
        bands: channels that are shown as red, green and blue, or one as grey; from 0.
        low, high: what is shown black and white in each of them, 0 and 1 the ends of the value range.
        stretched: whether those are not the ends themselves.
    """

    bands: tuple[int, ...]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    stretched: bool

    def __call__(self, unit: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Turn pixels [..., C], 0 and 1 the ends of the value range, into uint8 [..., 1 or 3]."""
        shown = (unit[..., list(self.bands)] - self.low) / (self.high - self.low)
        return np.floor(shown.clip(0.0, 1.0) * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)

    def caption(self) -> str:
        """Describe what is shown; nothing of pictures that are shown as they are."""
        words = []
        if self.bands not in ((0,), (0, 1, 2)) or self.stretched:
            colours = "red, green, blue" if len(self.bands) == 3 else "grey"
            words.append(f"bands {' '.join(map(str, self.bands))} (from 0) as {colours}")
        if self.stretched:
            words.append(f"black to white: mean -{_DEVIATIONS} to +{_DEVIATIONS} deviations of the band")
        return ", ".join(words)


def choose_bands(
    mean: Sequence[float],
    std: Sequence[float],
    value_range: float | Sequence[float] = 255,
    bands: Sequence[int] | None = None,
) -> ShownBands:
    """Choose the bands of pictures.

    8-bit values are shown as they are; others around the band's mean, since they seldom fill their range.

    Args:
        mean, std: statistics per channel, 0 and 1 the ends of the value range.
        value_range: see `ListDataset`.
        bands: one or three channels, from 0; None for the first three, of fewer the first one.

    Raises:
        ValueError: there are no such bands.
    """
    channels = len(mean)
    chosen = tuple(bands) if bands else (0, 1, 2) if channels >= 3 else (0,)
    if len(chosen) not in (1, 3) or not all(0 <= band < channels for band in chosen):
        raise ValueError(f"bands {' '.join(map(str, chosen))}: give one or three numbers from 0 to {channels - 1}")
    stretched = value_range != 255
    reach = np.array([_DEVIATIONS * std[band] if stretched else 0.5 for band in chosen], np.float32)
    middle = np.array([mean[band] if stretched else 0.5 for band in chosen], np.float32)
    return ShownBands(chosen, middle - reach, middle + reach, stretched)
