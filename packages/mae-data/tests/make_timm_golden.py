"""Write rand_augment_golden.npz: what timm's own operations make of a small image.

Run with timm's file, which needs only NumPy and Pillow:
    python make_timm_golden.py SITE_PACKAGES/timm/data/auto_augment.py
Made with timm 1.0.31 and Pillow 10.1.0: with Pillow 13 timm's Posterize fails at magnitude 10.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
from PIL import Image

MAGNITUDES = (0.0, 3.7, 9.0, 10.0)
MEAN = {"RGB": (124, 116, 104), "L": 79}


def source_image(mode):
    """A dull ramp with noise: no operation leaves it as it is by chance."""
    rows, columns = np.mgrid[:11, :14]
    ramp = 40 + 6 * columns + 4 * rows
    pixels = ramp[..., None] * [1.0, 0.8, 1.2] + np.random.RandomState(0).randint(-20, 21, (11, 14, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return image if mode == "RGB" else image.convert("L")


def main(timm_file):
    spec = importlib.util.spec_from_file_location("auto_augment", timm_file)
    timm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(timm)
    arrays = {}
    for mode in ("RGB", "L"):
        hparams = {"img_mean": MEAN[mode], "interpolation": Image.Resampling.BICUBIC, "translate_const": 100}
        arrays[f"source {mode}"] = np.asarray(source_image(mode))
        for op in timm.rand_augment_transform("rand-m9-mstd0.5-inc1", hparams).ops:
            for negative in (False, True):
                timm.random.random = lambda negative=negative: 1.0 if negative else 0.0  # timm negates above 0.5
                results = []
                for magnitude in MAGNITUDES:
                    arguments = op.level_fn(magnitude, op.hparams) if op.level_fn else ()
                    results.append(np.asarray(op.aug_fn(source_image(mode), *arguments, **op.kwargs)))
                name = op.name.removesuffix("Increasing").removesuffix("Rel")
                arrays[f"{name} {mode} {'-' if negative else '+'}"] = np.stack(results)
    np.savez_compressed(Path(__file__).with_name("rand_augment_golden.npz"), **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
