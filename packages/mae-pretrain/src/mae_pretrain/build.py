"""From config to model, data and loss: what training, evaluation and pictures share."""

from typing import Any

import paddle
from paddle import Tensor

from mae_core.config import Config
from mae_core.models import MaskedAutoencoderViT, pixel_statistics
from mae_core.ops import MaskKey
from mae_core.recipe import values_from_config
from mae_data.dataset import ListDataset
from mae_data.transforms import make_eval_transform, make_pretrain_transform


def build_model(config: Config) -> MaskedAutoencoderViT:
    """Build the model of a config, initialised from SEED alone."""
    paddle.seed(config.SEED)
    with values_from_config():
        model = _model(config)
    model.grad_checkpointing = config.MODEL.GRAD_CHECKPOINTING
    return model


def _model(config: Config) -> MaskedAutoencoderViT:
    m, d = config.MODEL, config.DATA
    mean, std = pixel_statistics(d.IMAGE_CHANNELS, d.IMAGENET_MEAN, d.IMAGENET_STD)
    return MaskedAutoencoderViT(
        img_size=d.IMAGE_SIZE if isinstance(d.IMAGE_SIZE, int) else tuple(d.IMAGE_SIZE),
        patch_size=m.PATCH_SIZE,
        in_chans=d.IMAGE_CHANNELS,
        embed_dim=m.ENCODER.EMBED_DIM,
        depth=m.ENCODER.DEPTH,
        num_heads=m.ENCODER.NUM_HEADS,
        decoder_embed_dim=m.DECODER.EMBED_DIM,
        decoder_depth=m.DECODER.DEPTH,
        decoder_num_heads=m.DECODER.NUM_HEADS,
        mlp_ratio=m.MLP_RATIO,
        qkv_bias=m.QKV_BIAS,
        drop_path_rate=m.DROPPATH,
        norm_pix_loss=m.NORM_PIX_LOSS,
        pixel_mean=mean,
        pixel_std=std,
    )


def train_dataset(config: Config) -> ListDataset:
    """Open the training list with the pre-training augmentation; labels are not needed."""
    d = config.DATA
    with values_from_config():
        transform = make_pretrain_transform(image_size=d.IMAGE_SIZE, scale=tuple(d.CROP_SCALE), hflip=d.HFLIP)
    return _dataset(config, d.TRAIN_LIST, transform)


def eval_dataset(config: Config, list_name: str | None = None) -> ListDataset:
    """Open a list (default: the validation list) with the evaluation transform."""
    d = config.DATA
    with values_from_config():
        transform = make_eval_transform(image_size=d.IMAGE_SIZE, crop_pct=d.CROP_PCT)
    return _dataset(config, list_name or d.VAL_LIST, transform)


def _dataset(config: Config, list_name: str, transform: Any) -> ListDataset:
    d = config.DATA
    return ListDataset(
        d.DATA_PATH,
        list_name,
        transform,
        seed=config.SEED,
        channels=d.IMAGE_CHANNELS,
        labels="optional",
        on_error=d.ON_ERROR,
    )


def mask_key(config: Config, indices: Tensor, epoch: int) -> MaskKey:
    """Key the masks of a batch's samples: a function of (SEED, epoch, sample index)."""
    return MaskKey(config.SEED, epoch, indices)
