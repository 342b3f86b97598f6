"""What an exported model takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.models import ViTEncoder

BATCH = "N"  # how the description writes the batch dimension, which takes any size


@dataclass(frozen=True)
class Port:
    """One input or output.

    Args:
        shape: without the batch dimension, which comes first.
        dtype: `uint8`, `int32` or `float32`.
        values: what the numbers mean, for the description.
        low, high: their ends, for the check.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: str
    low: float = 0.0
    high: float = 1.0

    def describe(self, name: str | None = None) -> dict[str, object]:
        """Return the entry of the description; `name` is what the file calls it, where that differs."""
        facts: dict[str, object] = {"shape": [BATCH, *self.shape], "dtype": self.dtype, "values": self.values}
        return {"name": name, "holds": self.name, **facts} if name else {"name": self.name, **facts}


def images_port(model: ViTEncoder) -> Port:
    """Describe a model's images: as stored, since the graph normalises them itself; Paddle lacks uint16."""
    order = {1: "grey", 3: "RGB"}.get(model.in_chans, f"{model.in_chans} channels")
    low, high = model.value_low, model.value_low + model.value_span
    dtype = "float32" if model.stored_floats else "uint8" if high <= 255 else "int32"
    uint16 = " (of uint16 images)" if dtype == "int32" else ""
    values = f"pixels {low:g} to {high:g}{uint16}, {order}, channels last, not normalised"
    return Port("images", (*model.img_size, model.in_chans), dtype, values, low, high)


def image_facts(model: ViTEncoder, crop_pct: float) -> dict[str, object]:
    """Describe what the graph does to pixels, and what is to be done before, as in evaluation.

    Args:
        crop_pct: part of the resized image's sides that the centre crop shows.
    """
    low, high = model.value_low, model.value_low + model.value_span
    return {
        "value_range": [low, high],
        "normalised_in_graph": {"mean": model.pixel_mean, "std": model.pixel_std},  # the range's ends are 0 and 1
        "prepare": {
            **({"take_bands": list(model.bands)} if model.bands else {}),
            "scale_to_cover": [int(side / crop_pct) for side in model.img_size],
            "interpolation": "bicubic",
            "crop_centre": model.img_size,
        },
    }


def random_batch(ports: Sequence[Port], rows: int) -> list[NDArray[Any]]:
    """Draw inputs for a check: pixels over their whole range, other numbers from 0 to 1."""
    rng = np.random.default_rng(rows)
    return [_draw(rng, port, (rows, *port.shape)) for port in ports]


def _draw(rng: np.random.Generator, port: Port, shape: tuple[int, ...]) -> NDArray[Any]:
    if port.dtype != "float32":
        return rng.integers(int(port.low), int(port.high) + 1, shape, dtype=port.dtype)
    unit = rng.random(shape, dtype=np.float32)
    return unit * np.float32(port.high - port.low) + np.float32(port.low)
