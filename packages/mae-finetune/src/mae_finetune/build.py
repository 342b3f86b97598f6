"""From config to model, weights and data: what training and evaluation share."""

from typing import Any

import paddle

from mae_core import log
from mae_core.config import Config
from mae_core.errors import CheckpointError, ConfigError
from mae_core.models import VisionTransformer, pixel_statistics
from mae_core.recipe import values_from_config
from mae_core.weights.load import load_pretrained
from mae_data.dataset import ListDataset
from mae_data.transforms import make_eval_transform, make_finetune_transform
from mae_finetune.partial_tuning import freeze_below


def build_model(config: Config) -> VisionTransformer:
    """Build the classifier of a config, initialised from SEED alone."""
    paddle.seed(config.SEED)
    with values_from_config():
        model = _model(config)
    model.grad_checkpointing = config.MODEL.GRAD_CHECKPOINTING
    if config.TRAIN.PARTIAL is not None:
        freeze_below(model, config.TRAIN.PARTIAL)
    return model


def _model(config: Config) -> VisionTransformer:
    m, d = config.MODEL, config.DATA
    mean, std = statistics(config)
    return VisionTransformer(
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
        drop_path_rate=m.DROPPATH,
        pixel_mean=mean,
        pixel_std=std,
    )


def statistics(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation a channel that images are normalised with."""
    d = config.DATA
    return pixel_statistics(d.IMAGE_CHANNELS, d.IMAGENET_MEAN, d.IMAGENET_STD)


def load_for_evaluation(config: Config, model: VisionTransformer) -> None:
    """Load the whole of MODEL.PRETRAINED and log the report on its keys.

    Raises:
        ConfigError: no weights are named.
        CheckpointError: something of the model is not in the file: a score of initial values means nothing.
    """
    if not config.MODEL.PRETRAINED:
        raise ConfigError("-eval needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    report = load_pretrained(model, config.MODEL.PRETRAINED)
    if report.missing:
        raise CheckpointError(
            f"{report.file} has no {', '.join(report.missing)} that fits MODEL.NUM_CLASSES={config.MODEL.NUM_CLASSES}"
            f" and MODEL.GLOBAL_POOL={config.MODEL.GLOBAL_POOL}: fine-tune it first, or set these as they were"
        )
    for line in report.lines():
        log.LOGGER.info(line)


def train_dataset(config: Config) -> ListDataset:
    """Open the training list with the fine-tuning augmentation."""
    d, t = config.DATA, config.TRAIN
    mean, std = statistics(config)
    policy = f"rand-m{t.RAND_AUGMENT_MAGNITUDE}-n{t.RAND_AUGMENT_LAYERS}-mstd{t.RAND_AUGMENT_STD}-inc1"
    with values_from_config():
        transform = make_finetune_transform(
            image_size=d.IMAGE_SIZE,
            mean=mean,
            std=std,
            scale=tuple(d.CROP_SCALE),
            hflip=d.HFLIP,
            rand_augment=policy if t.RAND_AUGMENT else None,
            reprob=t.RANDOM_ERASE_PROB,
            recount=t.RANDOM_ERASE_COUNT,
        )
    return _dataset(config, d.TRAIN_LIST, transform)


def eval_dataset(config: Config, labels: str = "required") -> ListDataset:
    """Open the validation list with the evaluation transform."""
    d = config.DATA
    with values_from_config():
        transform = make_eval_transform(image_size=d.IMAGE_SIZE, crop_pct=d.CROP_PCT)
    return _dataset(config, d.VAL_LIST, transform, labels)


def _dataset(config: Config, list_name: str, transform: Any, labels: str = "required") -> ListDataset:
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
