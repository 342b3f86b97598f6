"""`mae-finetune report`: the page of a fine-tuning run."""

from collections.abc import Sequence

from mae_core.report.page import Page
from mae_core.stage.classifier_report import classifier_page
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import statistics_of
from mae_data.drawing import ShownImages
from mae_data.images.shown_bands import choose_bands
from mae_finetune.build import eval_dataset
from mae_finetune.config import RECIPE


def run_page(folder: str, compare: Sequence[str] = ()) -> Page:
    """Put the page of a run together; see `classifier_page`."""
    return classifier_page(folder, "Fine-tuning", compare, lambda: _validation_images(folder))


def _validation_images(folder: str) -> ShownImages:
    config = RECIPE.load(f"{folder}/config.yaml")
    with values_from_config():
        shown = choose_bands(*statistics_of(config), config.DATA.VALUE_RANGE, None)
    return ShownImages(eval_dataset(config, "optional"), shown)
