"""`monitor/strips/`: small pictures of the same held-out images at each look of the monitor, for the report."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mae_core.files import png_bytes, write_output
from mae_core.process.run_log import spoken_epoch
from mae_core.report.page import Section, part
from mae_core.report.pictures import tile
from mae_core.report.run_files import RunFiles
from mae_pretrain.visualize import COLUMNS, SHOWN

STRIPS = "strips"  # folder beside the monitor's own pictures
_ROWS, _SIDE = 3, 96  # images, and pixels of the longer side of each
_LOOKS = 3  # that are shown: the start, the middle, the newest
_CAPTION = (
    "The same held-out images under the same masks at looks of the monitor, the visible patches put back: what the"
    " model makes of the rest as it learns."
)


def write_strip(path: Path, columns: Sequence[NDArray[np.uint8]]) -> None:
    """Write the first images of columns [N, H, W, 1 or 3]: rows of original, masked and reconstruction + visible."""
    rows = min(_ROWS, len(columns[0]))
    grid = np.concatenate([np.concatenate(list(columns[i][:rows])) for i in SHOWN], axis=1)
    picture = Image.fromarray(np.ascontiguousarray(grid.squeeze(-1) if grid.shape[-1] == 1 else grid))
    height, width = columns[0].shape[1:3]
    scale = min(1.0, _SIDE / max(height, width))
    cell = max(1, round(width * scale)), max(1, round(height * scale))
    small = picture.resize((cell[0] * len(SHOWN), cell[1] * rows), Image.Resampling.BOX)
    about = PngInfo()
    about.add_text("rows", str(rows))
    write_output(path, png_bytes(partial(small.save, pnginfo=about)))


def _read_strip(path: Path) -> list[list[NDArray[np.uint8]]]:
    """Return the pictures of a file by row and column."""
    with Image.open(path) as picture:
        pixels, rows = np.asarray(picture), int(picture.info["rows"])
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return [np.split(row, len(SHOWN), axis=1) for row in np.split(pixels, rows)]


def _file(run: RunFiles, step: int) -> Path:
    return run.folder / "monitor" / STRIPS / f"step_{step:08d}.png"


def strips(run: RunFiles) -> list[Section]:
    """Show the images at the start, the middle and the newest look; nothing where the monitor drew none."""
    epochs = {record["step"]: record["epoch"] for record in run.validation}
    found = [step for step in sorted(epochs) if (_file(run, step)).is_file()]
    if not found:
        return []
    looks = [found[i] for i in np.unique(np.linspace(0, len(found) - 1, _LOOKS).round().astype(int))]
    title = "Reconstructions while it trained"
    try:
        pictures = [_read_strip(_file(run, step)) for step in looks]
    except (OSError, ValueError, KeyError) as error:
        return [
            Section(title, [part("paragraph", f"None are shown: a picture in monitor/ is damaged ({error})", "note")])
        ]
    heads = [*(COLUMNS[i] for i in SHOWN[:2]), *(f"epoch {spoken_epoch(epochs[step])}" for step in looks)]
    rows = [
        [tile(image, f"held-out image {number}: {head}") for head, image in zip(heads, images, strict=True)]
        for number, images in enumerate(map(_side_by_side, zip(*pictures, strict=False)), 1)
    ]
    return [Section(title, [part("figure", part("columns", heads, rows), _CAPTION)])]


def _side_by_side(looks: Sequence[Sequence[NDArray[np.uint8]]]) -> list[NDArray[np.uint8]]:
    """Return an image's original and masked pictures, and its reconstruction at each look."""
    return [*looks[-1][:2], *(look[2] for look in looks)]
