"""From config to model, data and loss: what training, evaluation and pictures share."""

import paddle
from paddle import Tensor

from mae_core.config import Config
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops import MaskKey
from mae_core.stage.arguments import encoder_of, images_of
from mae_core.stage.recipe import values_from_config
from mae_data.dataset import ListDataset
from mae_data.transforms import make_eval_transform, make_pretrain_transform


def build_model(config: Config) -> MaskedAutoencoderViT:
    """Build the model of a config, initialised from SEED alone."""
    paddle.seed(config.SEED)
    m = config.MODEL
    with values_from_config():
        model = MaskedAutoencoderViT(
            decoder_embed_dim=m.DECODER.EMBED_DIM,
            decoder_depth=m.DECODER.DEPTH,
            decoder_num_heads=m.DECODER.NUM_HEADS,
            drop_path_rate=m.DROPPATH,
            norm_pix_loss=m.NORM_PIX_LOSS,
            **encoder_of(config),
        )
    model.grad_checkpointing = config.MODEL.GRAD_CHECKPOINTING
    return model


def train_dataset(config: Config) -> ListDataset:
    """Open the training list with the pre-training augmentation; labels are not needed."""
    d = config.DATA
    with values_from_config():
        transform = make_pretrain_transform(image_size=d.IMAGE_SIZE, scale=tuple(d.CROP_SCALE), hflip=d.HFLIP)
    return ListDataset(list_file=d.TRAIN_LIST, transform=transform, **images_of(config, "optional", training=True))


def eval_dataset(config: Config, list_name: str | None = None) -> ListDataset:
    """Open a list (default: the validation list) with the evaluation transform."""
    d = config.DATA
    with values_from_config():
        transform = make_eval_transform(image_size=d.IMAGE_SIZE, crop_pct=d.CROP_PCT)
    return ListDataset(list_file=list_name or d.VAL_LIST, transform=transform, **images_of(config, "optional"))


def mask_key(config: Config, indices: Tensor, epoch: int) -> MaskKey:
    """Key the masks of a batch's samples: a function of (SEED, epoch, sample index)."""
    return MaskKey(config.SEED, epoch, indices)
