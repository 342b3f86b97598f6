"""`mae-finetune report`: the page of a fine-tuning run."""

from collections.abc import Sequence

import numpy as np

from mae_core.errors import UserError
from mae_core.report.page import Page
from mae_core.report.pictures import Tile, tile
from mae_core.report.run_files import read_run
from mae_core.report.sections import Draw, Prediction
from mae_core.stage.classifier_report import classifier_page
from mae_core.stage.cli.report_command import read_compared
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import statistics_of
from mae_data.errors import DataError
from mae_data.images.shown_bands import ShownBands, choose_bands
from mae_data.loading.dataset import ListDataset
from mae_finetune.build import eval_dataset
from mae_finetune.config import RECIPE


def run_page(folder: str, compare: Sequence[str] = ()) -> Page:
    """Put the page of a run together.

    Args:
        compare: other runs' figures, `NAME=RUN|PERCENT`.

    Raises:
        UserError: there is no run, or another run has no accuracy.
    """
    return classifier_page(read_run(folder), "Fine-tuning", read_compared(compare), _drawing(folder))


def _drawing(folder: str) -> Draw:
    """Return what draws an image of the validation list; the list is opened with the first."""
    opened: list[tuple[ListDataset, ShownBands]] = []

    def draw(prediction: Prediction, alt: str) -> Tile:
        try:
            if not opened:
                opened.append(_open(folder))
            dataset, shown = opened[0]
            places = range(len(dataset))
            if prediction.index not in places or dataset.images.path(prediction.index) != prediction.image:
                raise UserError(f"{dataset.images.name} is not the list that was scored; score the run anew with -eval")
            pixels = dataset[prediction.index][0].astype(np.float32)
        except DataError as error:
            raise UserError(str(error)) from None
        return tile(shown((pixels - dataset.limits.low) / dataset.limits.span), alt)

    return draw


def _open(folder: str) -> tuple[ListDataset, ShownBands]:
    config = RECIPE.load(f"{folder}/config.yaml")
    with values_from_config():
        shown = choose_bands(*statistics_of(config), config.DATA.VALUE_RANGE, None)
    return eval_dataset(config, "optional"), shown
