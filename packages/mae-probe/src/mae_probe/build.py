"""From config to model, weights and data: what all commands share."""

import paddle

from mae_core import log
from mae_core.config import Config
from mae_core.errors import CheckpointError, ConfigError
from mae_core.models import pixel_statistics
from mae_core.recipe import values_from_config
from mae_core.weights.load import load_pretrained
from mae_data.dataset import ListDataset
from mae_data.transforms import Transform, make_eval_transform, make_probe_transform
from mae_probe.model import LinearProbe


def build_model(config: Config) -> LinearProbe:
    """Build the probe of a config, initialised from SEED alone."""
    paddle.seed(config.SEED)
    m, d = config.MODEL, config.DATA
    mean, std = pixel_statistics(d.IMAGE_CHANNELS, d.IMAGENET_MEAN, d.IMAGENET_STD)
    with values_from_config():
        return LinearProbe(
            num_classes=m.NUM_CLASSES,
            global_pool=m.GLOBAL_POOL,
            img_size=d.IMAGE_SIZE if isinstance(d.IMAGE_SIZE, int) else tuple(d.IMAGE_SIZE),
            patch_size=m.PATCH_SIZE,
            in_chans=d.IMAGE_CHANNELS,
            embed_dim=m.ENCODER.EMBED_DIM,
            depth=m.ENCODER.DEPTH,
            num_heads=m.ENCODER.NUM_HEADS,
            mlp_ratio=m.MLP_RATIO,
            qkv_bias=m.QKV_BIAS,
            pixel_mean=mean,
            pixel_std=std,
        )


def load_probe(config: Config, model: LinearProbe) -> None:
    """Load encoder and head of MODEL.PRETRAINED and log the report on its keys.

    Raises:
        ConfigError: no weights are named.
        CheckpointError: something of the model is not in the file: a score of initial values means nothing.
    """
    _load(config, model, "-eval", head=True)


def load_encoder(config: Config, model: LinearProbe, command: str) -> None:
    """Load the encoder of MODEL.PRETRAINED, whatever its head, and log the report on its keys; as `load_probe`."""
    _load(config, model, command, head=False)


def _load(config: Config, model: LinearProbe, command: str, head: bool) -> None:
    if not config.MODEL.PRETRAINED:
        raise ConfigError(f"{command} needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    report = load_pretrained(model, config.MODEL.PRETRAINED)
    free = () if head else ("head.", "fc_norm.")  # an encoder has no head, and may have no norm of averages
    missing = [name for name in report.missing if not name.startswith(free or "\0")]
    if missing:
        raise CheckpointError(
            f"{report.file} has no {', '.join(missing)} that fits MODEL.NUM_CLASSES={config.MODEL.NUM_CLASSES}"
            f" and MODEL.GLOBAL_POOL={config.MODEL.GLOBAL_POOL}: probe it first, or set these as they were"
        )
    for line in report.lines():
        log.LOGGER.info(line)


def train_dataset(config: Config) -> ListDataset:
    """Open the training list with the probing augmentation; with CACHE_FEATURES as in evaluation."""
    d = config.DATA
    if config.TRAIN.CACHE_FEATURES:
        return eval_dataset(config, d.TRAIN_LIST)
    with values_from_config():
        transform = make_probe_transform(image_size=d.IMAGE_SIZE, scale=tuple(d.CROP_SCALE), hflip=d.HFLIP)
    return _dataset(config, d.TRAIN_LIST, transform, "required")


def eval_dataset(config: Config, list_name: str, labels: str = "required") -> ListDataset:
    """Open a list with the evaluation transform."""
    return _dataset(config, list_name, eval_transform(config), labels)


def eval_transform(config: Config) -> Transform:
    """Make the evaluation transform."""
    with values_from_config():
        return make_eval_transform(image_size=config.DATA.IMAGE_SIZE, crop_pct=config.DATA.CROP_PCT)


def _dataset(config: Config, list_name: str, transform: Transform, labels: str) -> ListDataset:
    d = config.DATA
    return ListDataset(
        d.DATA_PATH,
        list_name,
        transform,
        seed=config.SEED,
        channels=d.IMAGE_CHANNELS,
        labels=labels,
        num_classes=config.MODEL.NUM_CLASSES if labels == "required" else None,
        on_error=d.ON_ERROR,
    )
