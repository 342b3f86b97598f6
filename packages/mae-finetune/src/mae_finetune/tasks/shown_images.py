"""The validation images of a run as pictures, for its page."""

from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import statistics_of
from mae_data.drawing import ShownImages, choose_bands
from mae_finetune.config import RECIPE
from mae_finetune.tasks.task import Task


def validation_images(folder: str, task: Task) -> ShownImages:
    """Open the validation list of a run for drawing.

    Args:
        folder: of the run.
    """
    config = RECIPE.load(f"{folder}/config.yaml")
    with values_from_config():
        shown = choose_bands(*statistics_of(config), config.DATA.VALUE_RANGE, None)
    return ShownImages(task.eval_dataset(config), shown)
