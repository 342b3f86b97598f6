"""RandAugment (arXiv 1909.13719) with the semantics of timm's `rand-m9-mstd0.5-inc1` policies.

A policy draws operations with replacement, each uniform among the fifteen and applied with a
probability. Its magnitude, of 10, is normally distributed and clipped to [0, 10]; the operation turns it
into its own argument, stronger with the magnitude ("increasing"), in a random direction where it has two.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from mae_data.rng import standard_normal

MAX_MAGNITUDE = 10
SOLARIZE_ADD_THRESHOLD = 128

Fill = tuple[int, ...] | int


@dataclass(frozen=True)
class Operation:
    """One drawn operation.

    Attributes:
        name: one of `OPERATIONS`.
        magnitude: strength, 0 to 10.
        negative: take the other direction, where the operation has two.
    """

    name: str
    magnitude: float
    negative: bool


@dataclass(frozen=True)
class RandAugment:
    """A policy; see `parse`.

    Attributes:
        magnitude: mean of the magnitude, 0 to 10.
        magnitude_std: its standard deviation.
        num_ops: operations drawn per image.
        prob: probability that a drawn operation is applied.
    """

    magnitude: int = 9
    magnitude_std: float = 0.5
    num_ops: int = 2
    prob: float = 0.5

    @classmethod
    def parse(cls, policy: str) -> "RandAugment":
        """Read a policy string such as `rand-m9-mstd0.5-inc1`.

        Args:
            policy: `rand`, then in any order `m` magnitude (0 to 10, 10 when left out), `mstd` its
                deviation (0), `n` number of operations (2), `p` probability of each (0.5), and `inc1`.

        Raises:
            ValueError: a part is unknown, missing, given twice or out of its range.
        """
        name, *parts = policy.split("-")
        values: dict[str, float] = {}
        for part in parts:
            match = re.fullmatch(r"(mstd|m|n|p|inc)(\d+(?:\.\d+)?)", part)
            if match is None or match[1] in values or ("." in match[2] and match[1] not in ("mstd", "p")):
                raise _refusal(policy, f"{part!r} is not a part of a policy, or given twice")
            values[match[1]] = float(match[2])
        if name != "rand" or values.get("inc") != 1:
            raise _refusal(policy, "a policy starts with 'rand' and has the increasing operations, 'inc1'")
        magnitude, std = values.get("m", MAX_MAGNITUDE), values.get("mstd", 0.0)
        num_ops, prob = values.get("n", 2), values.get("p", 0.5)
        if magnitude > MAX_MAGNITUDE or num_ops < 1 or prob > 1 or std > MAX_MAGNITUDE:
            raise _refusal(policy, "m and mstd go up to 10, n is at least 1, p at most 1")
        return cls(int(magnitude), std, int(num_ops), prob)

    def __call__(self, image: Image.Image, mean: tuple[float, ...], rng: np.random.Generator) -> Image.Image:
        """Augment an image.

        Args:
            image: of mode RGB or L.
            mean: colour, per channel in [0, 1], of what moves into the picture.
            rng: source of randomness.
        """
        for operation in self.draw(rng):
            image = apply_operation(image, operation, mean)
        return image

    def draw(self, rng: np.random.Generator) -> list[Operation]:
        """Draw the operations to apply to one image."""
        operations = []
        for choice, keep, u, v, sign in rng.random((self.num_ops, 5)):
            magnitude = self.magnitude + self.magnitude_std * float(standard_normal(u, v))
            clipped = max(0.0, min(magnitude, MAX_MAGNITUDE))
            if keep < self.prob:
                operations.append(Operation(NAMES[int(choice * len(NAMES))], clipped, sign < 0.5))
        return operations


def apply_operation(image: Image.Image, operation: Operation, mean: tuple[float, ...]) -> Image.Image:
    """Apply one operation to an image of mode RGB or L; `mean` is the fill colour in [0, 1]."""
    argument, apply = OPERATIONS[operation.name]
    fill = tuple(min(255, round(255 * value)) for value in mean)
    return apply(image, argument(operation.magnitude / MAX_MAGNITUDE, -1 if operation.negative else 1), fill)


def _refusal(policy: str, reason: str) -> ValueError:
    return ValueError(
        f"rand_augment={policy!r}: {reason}; write it like rand-m9-mstd0.5-inc1, with m, mstd, n, p and inc1 only"
    )


# Arguments: functions of the level, magnitude / 10, and of the direction, 1 or -1.
def _none(level: float, sign: int) -> None:
    return None


def _signed(limit: float) -> Callable[[float, int], float]:
    return lambda level, sign: sign * (level * limit)


def _enhancement(level: float, sign: int) -> float:
    return max(0.1, 1 + sign * (level * 0.9))


def _kept_bits(level: float, sign: int) -> int:
    return 4 - int(level * 4)


def _solarize_threshold(level: float, sign: int) -> int:
    return 256 - min(256, int(level * 256))


def _solarize_addend(level: float, sign: int) -> int:
    return min(128, int(level * 110))


def _affine(image: Image.Image, matrix: tuple[float, ...], fill: tuple[int, ...]) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC, fillcolor=_colour(fill)
    )


def _rotate(image: Image.Image, degrees: float, fill: tuple[int, ...]) -> Image.Image:
    return image.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor=_colour(fill))


def _colour(fill: tuple[int, ...]) -> Fill:
    return fill[0] if len(fill) == 1 else fill


def _solarize_add(image: Image.Image, addend: int, fill: tuple[int, ...]) -> Image.Image:
    table = [min(255, i + addend) if i < SOLARIZE_ADD_THRESHOLD else i for i in range(256)]
    return image.point(table * len(image.getbands()))


def _posterize(image: Image.Image, bits: int, fill: tuple[int, ...]) -> Image.Image:
    # Pillow 13 refuses to keep 0 bits, which magnitude 10 asks for: before, that was a black image.
    table = [i & ~(2 ** (8 - bits) - 1) for i in range(256)]
    return image.point(table * len(image.getbands()))


def _enhance(kind: Any) -> Callable[[Image.Image, float, tuple[int, ...]], Image.Image]:
    return lambda image, factor, fill: kind(image).enhance(factor)


# name -> (argument of (level, direction), image of (image, argument, fill colour)). Signs and ranges:
# degrees up to 30, shear up to 0.3, translation up to 0.45 of the side.
OPERATIONS: dict[str, tuple[Callable[[float, int], Any], Callable[..., Image.Image]]] = {
    "AutoContrast": (_none, lambda image, _, fill: ImageOps.autocontrast(image)),
    "Equalize": (_none, lambda image, _, fill: ImageOps.equalize(image)),
    "Invert": (_none, lambda image, _, fill: ImageOps.invert(image)),
    "Rotate": (_signed(30.0), _rotate),
    "Posterize": (_kept_bits, _posterize),
    "Solarize": (_solarize_threshold, lambda image, threshold, fill: ImageOps.solarize(image, threshold)),
    "SolarizeAdd": (_solarize_addend, _solarize_add),
    "Color": (_enhancement, _enhance(ImageEnhance.Color)),
    "Contrast": (_enhancement, _enhance(ImageEnhance.Contrast)),
    "Brightness": (_enhancement, _enhance(ImageEnhance.Brightness)),
    "Sharpness": (_enhancement, _enhance(ImageEnhance.Sharpness)),
    "ShearX": (_signed(0.3), lambda image, factor, fill: _affine(image, (1, factor, 0, 0, 1, 0), fill)),
    "ShearY": (_signed(0.3), lambda image, factor, fill: _affine(image, (1, 0, 0, factor, 1, 0), fill)),
    "TranslateX": (_signed(0.45), lambda image, x, fill: _affine(image, (1, 0, x * image.width, 0, 1, 0), fill)),
    "TranslateY": (_signed(0.45), lambda image, y, fill: _affine(image, (1, 0, 0, 0, 1, y * image.height), fill)),
}
NAMES = tuple(OPERATIONS)
