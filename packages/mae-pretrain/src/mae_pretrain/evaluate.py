"""`mae-pretrain -eval`: score a model on the validation list, exactly, over any number of ranks."""

import numpy as np
import paddle
from paddle import Tensor

from mae_core.models import MaskedAutoencoderViT
from mae_core.ops.patches import patchify
from mae_core.process import distributed, log
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import precision_of
from mae_core.stage.config.to_data_arguments import eval_sampling_of, loading_of
from mae_core.weights.load import load_weights
from mae_core.weights.sources import Weights
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import EvalBatchSampler
from mae_pretrain.build import build_model, eval_dataset, mask_noise, masking_note, require_decoder
from mae_pretrain.reconstruction import inpaint, masked_error, predict_patches

MEAN_IMAGE_SAMPLES = 2048  # training images that make the mean image


def evaluate(config: Config, weights: Weights | None) -> dict[str, float]:
    """Score weights on the validation list.

    Args:
        weights: of MODEL.PRETRAINED; None where it names none.

    Returns:
        loss: the model's own loss, mean over images.
        mae, inpainting, mean_image: mean squared error over removed patches, pixel values 0 to 1, of the
            model, of a distance-weighted mean of the visible patches and of the mean training image.
        patch_mean: that of each true patch's mean, with MODEL.NORM_PIX_LOSS: the model's error is beside the others'
            of no meaning then, for it is given each true patch's mean and deviation.
        images: how many were scored.
    """
    distributed.init()
    log.setup(distributed.is_main())
    weights, model = require_decoder(weights, "-eval"), build_model(config)
    scored, averaged = open_sets(config)
    log.log_lines(scored.images.notes)
    load_weights(model, weights)
    log.LOGGER.info(f"weights: {weights.file}")
    model.eval()
    scores = score_reconstructions(config, model, scored, _mean_patches(averaged, model))
    given = ""
    if model.norm_pix_loss:
        given = f" (given each true patch's mean and deviation), that mean alone {scores['patch_mean']:#.3g}"
    log.LOGGER.info(
        f"{scores['images']:.0f} images, mask ratio {config.MODEL.MASK_RATIO}{masking_note(config)}:"
        f" loss {scores['loss']:.4f};"
        f" mean squared error of removed pixels: MAE {scores['mae']:#.3g}{given},"
        f" inpainting {scores['inpainting']:#.3g}, mean image {scores['mean_image']:#.3g}"
    )
    return scores


def open_sets(config: Config) -> tuple[ListDataset, ListDataset]:
    """Open the images to score, and those of training that make the mean image, of which bad ones do not count."""
    return eval_dataset(config), eval_dataset(config, config.DATA.TRAIN_LIST, dropping=True)


@paddle.no_grad()
def score_reconstructions(
    config: Config, model: MaskedAutoencoderViT, dataset: ListDataset, mean_patches: Tensor
) -> dict[str, float]:
    """Score a model in evaluation mode; `mean_patches` is [1, L, p*p*C], pixel values 0 to 1."""
    names, precision = ["loss", "mae", "inpainting", "mean_image"], precision_of(config)
    names += ["patch_mean"] if model.norm_pix_loss else []
    sums = np.zeros(len(names) + 2)
    sampler = EvalBatchSampler(len(dataset), **eval_sampling_of(config))
    for images, _, indices in make_loader(dataset, sampler, **loading_of(config)):
        noise = mask_noise(config, indices, epoch=0)
        with precision.autocast():
            recon = predict_patches(model, images, config.MODEL.MASK_RATIO, noise)
        fillings = [recon.predicted, inpaint(recon, model), mean_patches]
        fillings += [] if recon.patch_mean is None else [recon.patch_mean]
        errors = [masked_error(recon, filling).sum() for filling in fillings]
        weight = len(images) if recon.valid is None else float((recon.mask * recon.valid).sum())
        sums += [float(recon.loss) * weight, *errors, weight, len(images)]
    loss, *errors, weights, count = distributed.sum_over_ranks(sums.tolist())
    scores = dict(zip(names, [loss / max(weights, 1.0), *(error / count for error in errors)], strict=True))
    return {**scores, "images": count}


def _mean_patches(dataset: ListDataset, model: MaskedAutoencoderViT) -> Tensor:
    """Average training images that can be read, evenly spread over the list, as patches [1, L, p*p*C]."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, MEAN_IMAGE_SAMPLES).astype(int))
    total, count = np.zeros((*model.img_size, model.in_chans)), 0  # [H, W, C]
    for image, _, index in (dataset[int(i)] for i in chosen):
        if index >= 0:
            total, count = total + image[..., : model.in_chans], count + 1
    mean = total / (model.value_span * count) - model.value_low / model.value_span
    images = paddle.to_tensor(mean.transpose(2, 0, 1)[None].astype(np.float32))  # [1, C, H, W]
    return patchify(images, model.patch_size)
