"""From config to model, weights and images: what training, evaluation, prediction and export share."""

import numpy as np
import paddle

from mae_core.errors import CheckpointError
from mae_core.models import ViTEncoder
from mae_core.stage.classifier import load_classifier
from mae_core.stage.config.from_run import load_run
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import statistics_of
from mae_core.stage.config.to_data_arguments import cropping_of, images_of, input_of
from mae_core.weights.key_report import KeyReport
from mae_core.weights.sources import Weights
from mae_data.drawing import ShownBands, ShownImages, choose_bands
from mae_data.loading.dataset import ListDataset, OpenTargets
from mae_data.loading.preprocess import ModelInput
from mae_data.transforms.pipelines import make_finetune_transform
from mae_finetune.config import RECIPE
from mae_finetune.optimizer import freeze_below
from mae_finetune.tasks import task_of


def build_model(config: Config) -> ViTEncoder:
    """Build the model of a config, initialised from SEED alone."""
    paddle.seed(config.SEED)
    with values_from_config():
        model = task_of(config).build(config)
    model.grad_checkpointing = config.MODEL.GRAD_CHECKPOINTING
    if config.TRAIN.PARTIAL is not None:
        freeze_below(model, config.TRAIN.PARTIAL)
    return model


def refuse_other_task(config: Config, weights: Weights | None) -> None:
    """Refuse weights of a fine-tuning run of another task: of equal shape, they would be scored as what they are not.

    Raises:
        CheckpointError: MODEL.TASK is not that of the run.
    """
    recorded = weights.config.get("MODEL", {}) if weights else {}
    if weights and recorded.get("TYPE") == "FINETUNE" and recorded.get("TASK", "classify") != config.MODEL.TASK:
        raise CheckpointError(
            f"MODEL.TASK={config.MODEL.TASK} was asked for, and {weights.file} is of"
            f" MODEL.TASK={recorded.get('TASK', 'classify')}: leave MODEL.TASK out, or name weights of this task"
        )


def load_for_evaluation(config: Config, weights: Weights | None, model: ViTEncoder) -> KeyReport:
    """Load the weights, which must be those of a whole model of MODEL.TASK; see `load_classifier`."""
    refuse_other_task(config, weights)
    settings = {key: config.MODEL[key.partition(".")[2]] for key in task_of(config).head_keys}
    return load_classifier(model, weights, settings=settings, remedy="fine-tune it first")


def scored_images(folder: str) -> ShownImages:
    """Open the validation list of a run as pictures."""
    config = load_run(RECIPE, folder)
    return ShownImages(task_of(config).eval_dataset(config), shown_bands(config))


def shown_bands(config: Config) -> ShownBands:
    """Choose the bands of a config's images that pictures show; see `choose_bands`."""
    with values_from_config():
        return choose_bands(*statistics_of(config), config.DATA.VALUE_RANGE)


def train_dataset(config: Config, open_targets: OpenTargets | None = None) -> ListDataset:
    """Open the training list with the fine-tuning augmentation.

    Args:
        open_targets: opens a list with other targets than a class.
    """
    d, t = config.DATA, config.TRAIN
    mean, std = statistics_of(config)
    std_in_digits = np.format_float_positional(t.RAND_AUGMENT_STD, trim="0")  # a policy has no exponents
    policy = f"rand-m{t.RAND_AUGMENT_MAGNITUDE}-n{t.RAND_AUGMENT_LAYERS}-mstd{std_in_digits}-inc1"
    with values_from_config():
        transform = make_finetune_transform(
            **cropping_of(config),
            mean=mean,
            std=std,
            rand_augment=policy if t.RAND_AUGMENT else None,
            reprob=t.RANDOM_ERASE_PROB,
            recount=t.RANDOM_ERASE_COUNT,
        )
    images = images_of(config, training=True)
    return ListDataset(list_file=d.TRAIN_LIST, transform=transform, open_targets=open_targets, **images)


def eval_dataset(
    config: Config,
    labels: str = "required",
    list_name: str | None = None,
    *,
    dropping: bool = False,
    open_targets: OpenTargets | None = None,
) -> ListDataset:
    """Open a list (default: the validation list) with the evaluation transform.

    Args:
        dropping: whether DATA.ON_ERROR holds; see `images_of`.
        open_targets: see `train_dataset`.
    """
    with values_from_config():
        transform = ModelInput(**input_of(config)).transform
    images, list_file = images_of(config, labels, dropping=dropping), list_name or config.DATA.VAL_LIST
    return ListDataset(list_file=list_file, transform=transform, open_targets=open_targets, **images)
