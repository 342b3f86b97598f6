"""What an exported model takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = "N"  # how the description writes the batch dimension, which takes any size


@dataclass(frozen=True)
class Port:
    """One input or output.

    Args:
        shape: without the batch dimension, which comes first.
        dtype: `uint8` or `float32`.
        values: what the numbers mean, for the description.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: str

    def describe(self, name: str | None = None) -> dict[str, Any]:
        """Return the entry of the description; `name` is what the file calls it, where that differs."""
        facts = {"shape": [BATCH, *self.shape], "dtype": self.dtype, "values": self.values}
        return {"name": name, "holds": self.name, **facts} if name else {"name": self.name, **facts}


def images_port(model: Any) -> Port:
    """Describe a model's images: uint8 as decoded, since the graph normalises them itself."""
    order = {1: "grey", 3: "RGB"}.get(model.in_chans, f"{model.in_chans} channels")
    values = f"pixels 0 to 255, {order}, channels last, not normalised"
    return Port("images", (*model.img_size, model.in_chans), "uint8", values)


def image_facts(model: Any, crop_pct: float) -> dict[str, Any]:
    """Say what the graph does to pixels, and what is to be done before, as in evaluation.

    Args:
        crop_pct: part of the resized image's sides that the centre crop shows.
    """
    return {
        "normalised_in_graph": {"mean": model.pixel_mean, "std": model.pixel_std},  # of pixels / 255
        "prepare": {
            "scale_to_cover": [int(side / crop_pct) for side in model.img_size],
            "interpolation": "bicubic",
            "crop_centre": model.img_size,
        },
    }


def random_batch(ports: Sequence[Port], rows: int) -> list[NDArray[Any]]:
    """Draw inputs for a check: pixels over their whole range, other numbers from 0 to 1."""
    rng = np.random.default_rng(rows)
    return [
        rng.integers(0, 256, (rows, *port.shape), dtype=np.uint8)
        if port.dtype == "uint8"
        else rng.random((rows, *port.shape), dtype=np.float32)
        for port in ports
    ]
