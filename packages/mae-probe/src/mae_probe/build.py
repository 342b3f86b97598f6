"""From config to model, weights and data: what all commands share."""

from collections.abc import Sequence

import paddle

from mae_core.errors import CheckpointError
from mae_core.stage.classifier import load_classifier
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import encoder_of, statistics_of
from mae_core.stage.config.to_data_arguments import cropping_of, images_of, input_of
from mae_core.weights.key_report import KeyReport
from mae_core.weights.sources import Weights
from mae_data.drawing import ShownBands, choose_bands
from mae_data.loading.dataset import ListDataset
from mae_data.loading.preprocess import ModelInput
from mae_data.transforms.pipelines import Transform, make_probe_transform
from mae_probe.model import LinearProbe


def build_model(config: Config) -> LinearProbe:
    """Build the probe of a config, initialised from SEED alone."""
    paddle.seed(config.SEED)
    m = config.MODEL
    with values_from_config():
        return LinearProbe(
            num_classes=m.NUM_CLASSES,
            global_pool=m.GLOBAL_POOL,
            head=m.HEAD,
            num_queries=m.NUM_QUERIES,
            block=m.BLOCK,
            **encoder_of(config),
        )


def depth_of(config: Config) -> int:
    """Return how many blocks the probe has: those up to the one that its head reads."""
    depth: int = config.MODEL.ENCODER.DEPTH
    return config.MODEL.BLOCK % depth + 1


def load_probe(config: Config, weights: Weights | None, model: LinearProbe) -> None:
    """Load encoder and head; see `load_classifier`.

    Raises:
        CheckpointError: also where the weights are of another head.
    """
    report = _load(config, weights, model, "-eval")
    if other := [name for name in report.unexpected if name.startswith("head.")]:
        raise CheckpointError(
            f"{report.file} has {', '.join(other)}, which MODEL.HEAD={config.MODEL.HEAD} has not:"
            " set MODEL.HEAD as it was"
        )


def load_encoder(config: Config, weights: Weights | None, model: LinearProbe, command: str) -> None:
    """Load the encoder, whatever its head; see `load_classifier`."""
    free = ("head.", "fc_norm.")  # an encoder has no head, and may have no norm of averages
    _load(config, weights, model, command, free)


def _load(
    config: Config, weights: Weights | None, model: LinearProbe, command: str, free: tuple[str, ...] = ()
) -> KeyReport:
    m = config.MODEL
    return load_classifier(
        model,
        weights,
        settings={
            "MODEL.NUM_CLASSES": m.NUM_CLASSES,
            "MODEL.GLOBAL_POOL": m.GLOBAL_POOL,
            "MODEL.HEAD": m.HEAD,
        },
        remedy="probe it first",
        command=command,
        free=free,
    )


def train_dataset(config: Config) -> ListDataset:
    """Open the training list with the probing augmentation; with CACHE_FEATURES as in evaluation."""
    d = config.DATA
    transform: Transform = eval_transform(config)
    if not config.TRAIN.CACHE_FEATURES:
        with values_from_config():
            transform = make_probe_transform(**cropping_of(config))
    return ListDataset(list_file=d.TRAIN_LIST, transform=transform, **images_of(config, training=True))


def eval_dataset(
    config: Config, list_name: str, labels: str = "required", *, dropping: bool = False, coverage: bool = False
) -> ListDataset:
    """Open a list with the evaluation transform.

    Args:
        dropping: whether DATA.ON_ERROR holds; see `images_of`.
        coverage: whether images say where they hold data; see `ListDataset`.
    """
    images = images_of(config, labels, dropping=dropping)
    return ListDataset(list_file=list_name, transform=eval_transform(config), coverage=coverage, **images)


def shown_bands(config: Config, bands: Sequence[int] | None = None) -> ShownBands:
    """Choose the bands of a config's images that pictures show; see `choose_bands`."""
    with values_from_config():
        return choose_bands(*statistics_of(config), config.DATA.VALUE_RANGE, bands)


def eval_transform(config: Config) -> Transform:
    """Make the evaluation transform."""
    with values_from_config():
        return ModelInput(**input_of(config)).transform
