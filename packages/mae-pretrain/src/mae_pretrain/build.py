"""From config to images and model: what training, evaluation and pictures share."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import paddle
from paddle import Tensor

from mae_core.errors import CheckpointError
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops import STRATEGIES, MaskKey
from mae_core.ops.patches import pair
from mae_core.ops.random_masking import Noise
from mae_core.stage.classifier import require_weights
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import encoder_of, statistics_of
from mae_core.stage.config.to_data_arguments import Images, cropping_of, images_of, input_of
from mae_core.weights.architecture import decoder_kind_of
from mae_core.weights.sources import Weights
from mae_data.drawing import ShownBands, choose_bands
from mae_data.loading.dataset import ListDataset
from mae_data.loading.preprocess import ModelInput
from mae_data.transforms.native_crop import make_native_transform
from mae_data.transforms.pipelines import Transform, make_pretrain_transform

Model = TypeVar("Model", bound=MaskedAutoencoderViT)


def build_model(config: Config) -> MaskedAutoencoderViT:
    """Build the model of a config, initialised from SEED alone."""
    return build_autoencoder(config, MaskedAutoencoderViT)


def build_autoencoder(config: Config, kind: Callable[..., Model]) -> Model:
    """Build an autoencoder of a config by what makes it, such as a class of its kind, initialised from SEED alone."""
    paddle.seed(config.SEED)
    m = config.MODEL
    with values_from_config():
        model = kind(
            decoder_kind=m.DECODER.KIND,
            decoder_embed_dim=m.DECODER.EMBED_DIM,
            decoder_depth=m.DECODER.DEPTH,
            decoder_num_heads=m.DECODER.NUM_HEADS,
            norm_pix_loss=m.NORM_PIX_LOSS,
            **encoder_of(config, m.DROPPATH),
        )
    model.grad_checkpointing = config.MODEL.GRAD_CHECKPOINTING
    return model


def require_decoder(weights: Weights | None, command: str) -> Weights:
    """Return weights that reconstruct.

    Raises:
        ConfigError: MODEL.PRETRAINED names none.
        CheckpointError: they have no decoder, such as those of a refined run or of an encoder.
    """
    found = require_weights(weights, command)
    if decoder_kind_of(found.arrays) is None:
        raise CheckpointError(
            f"{found.file} has no decoder, which {command} needs: name a pre-training run; mae-probe knn scores"
            " features"
        )
    return found


def train_dataset(config: Config) -> ListDataset:
    """Open the training list with the pre-training augmentation; labels are not needed."""
    d, images = config.DATA, images_of(config, "optional", training=True)
    transform, reuse = train_transform(config), config.DATA.REPEATS > 1
    return ListDataset(list_file=d.TRAIN_LIST, transform=transform, reuse=reuse, crops=d.CROPS, coverage=True, **images)


def train_transform(config: Config) -> Transform:
    """Make the training transform: random resized crops, or such at native resolution."""
    c = cropping_of(config)
    with values_from_config():
        if config.DATA.CROP == "native":
            return make_native_transform(
                image_size=c["image_size"], hflip=c["hflip"], vflip=c["vflip"], rotate90=c["rotate90"]
            )
        return make_pretrain_transform(**c)


def eval_dataset(config: Config, list_name: str | None = None, *, dropping: bool = False) -> ListDataset:
    """Open a list (default: the validation list) with the evaluation transform.

    Args:
        dropping: whether DATA.ON_ERROR holds; see `images_of`.
    """
    return _evaluated(config, list_name or config.DATA.VAL_LIST, images_of(config, "optional", dropping=dropping))


def labelled_dataset(config: Config, list_name: str) -> ListDataset:
    """Open a list, or class folders, with the evaluation transform and with labels of any number of classes.

    Raises:
        DataError: images have no labels.
    """
    return _evaluated(config, list_name, images_of(config, "optional") | {"labels": "required"})


def _evaluated(config: Config, list_name: str, images: Images) -> ListDataset:
    return ListDataset(list_file=list_name, transform=shown_input(config).transform, coverage=True, **images)


def shown_input(config: Config) -> ModelInput:
    """Describe what evaluation and pictures show of an image, and how much of it are data."""
    with values_from_config():
        return ModelInput(**input_of(config), coverage=True, native=config.DATA.get("CROP") == "native")


def shown_bands(config: Config, bands: Sequence[int] | None = None) -> ShownBands:
    """Choose the bands of a config's images that pictures show; see `choose_bands`."""
    with values_from_config():
        return choose_bands(*statistics_of(config), config.DATA.VALUE_RANGE, bands)


def masking_note(config: Config) -> str:
    """Return how patches are removed, where not at random, to stand behind the ratio."""
    return "" if config.MODEL.MASKING == "random" else f" ({config.MODEL.MASKING})"


def mask_noise(config: Config, indices: Tensor, epoch: int, seed: int | None = None) -> Noise:
    """Draw the masks of a batch's samples: a function of (SEED, or `seed`, epoch, sample index)."""
    m, (height, width) = config.MODEL, pair(config.DATA.IMAGE_SIZE)
    key = MaskKey(config.SEED if seed is None else seed, epoch, indices)
    return STRATEGIES[m.MASKING](key, (height // m.PATCH_SIZE, width // m.PATCH_SIZE), m.MASK_RATIO)
