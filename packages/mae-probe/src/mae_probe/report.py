"""`mae-probe report`: the page of a probing run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.report.page import Page, Section, part
from mae_core.report.pictures import columns_for, tile
from mae_core.stage.classifier_report import classifier_page
from mae_core.stage.config.from_run import load_run
from mae_core.stage.config.from_weights import Opened
from mae_core.weights.checkpoint_folder import open_weights
from mae_data.drawing import ShownImages
from mae_data.errors import DataError
from mae_probe.attention import OPAQUE, attention_of, overlays
from mae_probe.build import eval_dataset, shown_bands
from mae_probe.config import RECIPE

if TYPE_CHECKING:
    from markupsafe import Markup

_CAPTION = (
    "Coloured: where the class token looks. Heads of the last block, each in a colour of its own, differ in what they"
    " look at; rollout follows attention through all blocks. Look for maps that hold to the object: maps that are the"
    " same for any image come from features that know little."
)
_SCALE = ("no attention", "the map's strongest patch, whose share is said below")


def run_page(folder: str, compare: Sequence[str] = (), images: int = 3) -> Page:
    """Put the page of a run together; see `classifier_page`.

    Args:
        images: validation images to draw attention maps of; 0 loads no model.
    """
    more = [attention(folder, images)] if images > 0 else []
    return classifier_page(folder, "Probe", "mae-probe", compare, lambda: _validation_images(folder), more)


def attention(folder: str, count: int) -> Section:
    """Draw what the class token attends to in images of the validation list; say why where that cannot be done."""
    title = "What the class token attends to"
    try:
        images = _validation_images(folder)
        chosen = np.unique(np.linspace(0, len(images.dataset) - 1, count).astype(int))
        pixels = [(images.path(int(i)), images.dataset[int(i)][0]) for i in chosen]
        opened = Opened(load_run(RECIPE, folder), open_weights(folder))
        figures = [attention_figure(*found) for found in attention_of(opened, pixels, images.shown)]
        return Section(title, [part("paragraph", _CAPTION, "note"), part("scale", *_SCALE, OPAQUE), *figures])
    except (UserError, DataError) as error:
        return Section(title, [part("paragraph", f"None are shown: {error}", "note")])


def attention_figure(name: str, picture: NDArray[np.uint8], maps: dict[str, NDArray[np.floating]]) -> "Markup":
    """Lay an image and its maps out as tiles."""
    tiles = [tile(drawn, f"{name}: attention, {title}", title) for title, drawn in overlays(picture, maps)]
    tiles[0] = replace(tiles[0], alt=name)
    columns = [columns_for(len(tiles), most) for most in (7, 4)]  # on wide and narrow screens
    return part("figure", part("tiles", tiles, *columns), name)


def _validation_images(folder: str) -> ShownImages:
    config = load_run(RECIPE, folder)
    return ShownImages(eval_dataset(config, config.DATA.VAL_LIST, "optional"), shown_bands(config))
