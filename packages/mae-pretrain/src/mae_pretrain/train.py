"""One pre-training run."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypedDict

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

from mae_core.models import MaskedAutoencoderViT
from mae_core.ops.patches import Pixels
from mae_core.ops.random_masking import Noise
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import plan_of, precision_of, trainer_of
from mae_core.stage.config.to_data_arguments import global_batch_of, loading_of, train_sampling_of
from mae_core.stage.run.lifecycle import Run, run_training
from mae_core.stage.run.model_card import Card
from mae_core.training.engine import Trainer
from mae_core.training.optim import Ema
from mae_core.training.plan import Samples
from mae_core.training.run_folder import RunFolder
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import BatchLoader, make_loader
from mae_data.loading.sampler import TrainBatchSampler, steps_per_epoch
from mae_pretrain.advice.hint import hint
from mae_pretrain.build import build_model, eval_dataset, mask_noise, train_dataset
from mae_pretrain.monitor.images import readable
from mae_pretrain.monitor.look import monitoring
from mae_pretrain.optimizers.choice import build_optimizer
from mae_pretrain.reconstruction import split_coverage
from mae_pretrain.visualize import COLUMNS, SHOWN, draw_grid, masked_columns, ratio_caption

Scored = tuple[Tensor, dict[str, float]]
BuildModel = Callable[[Config], MaskedAutoencoderViT]

PICTURES = 4  # that boards show of a checkpoint
CARD = Card(
    "Masked autoencoder, pre-trained",
    "Features for fine-tuning, probing and retrieval, and inpainting.",
    "It predicts pixels, not classes. What it fills in is plausible, not true: it is no evidence of what a"
    " hidden part of an image shows.",
)


def train(opened: Opened, allow_drift: Sequence[str] = ()) -> Trainer:
    """Pre-train by the config; see `mae_core.stage.run.lifecycle.run_training`."""
    return run_training(opened, build_run, allow_drift)


def build_run(config: Config, folder: RunFolder | None = None) -> Run:
    """Put a run together; see `assemble`."""
    return assemble(config, folder, build_model, pretrain_loss)


def assemble(config: Config, folder: RunFolder | None, build: BuildModel, loss: Callable[..., Scored]) -> Run:
    """Put a run together: images, model, optimizer, loss, and what looks at the model meanwhile.

    Args:
        folder: where the run writes; None writes nothing.
        build: makes the model of a config.
        loss: `pretrain_loss`, or what takes the same arguments.
    """
    images, model = train_dataset(config), build(config)
    plan = plan_of(config, steps_per_epoch(len(images), **global_batch_of(config)))
    precision = precision_of(config)
    trainer = Trainer(
        model=model,
        optimizer=build_optimizer(model, config.TRAIN),
        loss_fn=partial(loss, config, len(images), model.pixels),
        precision=precision,
        folder=folder,
        loggers=config.LOGGERS,
        ema=Ema(model, config.TRAIN.EMA) if config.TRAIN.EMA else None,
        pictures=board_pictures(config) if config.LOGGERS else None,
        validation=monitoring(config, precision, plan.steps_per_epoch, folder.path if folder else None),
        program="mae-pretrain",
        **trainer_of(config, plan, images),
    )
    sampling = train_sampling_of(config, config.DATA.REPEATS)

    def batches(first: int, steps: int) -> BatchLoader:
        sampler = TrainBatchSampler(len(images), start_step=first, num_steps=steps, **sampling)
        return make_loader(images, sampler, **loading_of(config), stop=trainer.stopping)

    return Run(
        trainer,
        len(images),
        batches,
        CARD,
        free=("MONITOR",),
        notes=images.notes(),
        skipped=images.skipped,
        advice=partial(hint, config, images.images, trainer),
    )


def board_pictures(config: Config) -> Callable[[nn.Layer], dict[str, NDArray[np.uint8]]]:
    """Return what draws validation images, masked and reconstructed, as boards show them while a run goes on."""
    opened: list[ListDataset] = []  # with the first picture: a run needs no validation images

    def draw(model: nn.Layer) -> dict[str, NDArray[np.uint8]]:
        if not opened:
            opened.append(eval_dataset(config, dropping=True))
        chosen = np.unique(np.linspace(0, len(opened[0]) - 1, PICTURES).astype(np.int64))
        pixels, used = readable(opened[0], chosen)
        if not len(used):
            return {}
        columns = masked_columns(config, model, pixels, used)
        grid = draw_grid([columns[i] for i in SHOWN], ratio_caption(config), titles=[COLUMNS[i] for i in SHOWN])
        return {"reconstructions": np.asarray(grid)}

    return draw


def pretrain_loss(config: Config, num_images: int, cut: Pixels, model: nn.Layer, batch: Samples, epoch: int) -> Scored:
    """Score one batch of images.

    Args:
        num_images: samples of an epoch.
        cut: how the model, which may be wrapped here, cuts images.
    """
    pixels, masking = masked_batch(config, num_images, cut, batch, epoch)
    loss, _, _ = model(pixels, config.MODEL.MASK_RATIO, **masking, predicted=predicted_of(config), return_pred=False)
    return loss, {}


class BatchMasking(TypedDict):
    """Arguments of `MaskedAutoencoderViT.forward`: how a batch is masked."""

    noise: Noise
    valid: Tensor | None


def masked_batch(
    config: Config, num_images: int, cut: Pixels, batch: Samples, epoch: int
) -> tuple[Tensor, BatchMasking]:
    """Return a batch's images and how they are masked; each sample's mask depends on (SEED, epoch, sample index) only.

    With DATA.REPEATS, the samples of one image count as samples of further images: each has its own mask.

    Args:
        num_images, cut: see `pretrain_loss`.
    """
    indices = batch.indices
    if config.DATA.REPEATS > 1:
        indices = indices + num_images * (paddle.arange(len(indices), dtype="int64") % config.DATA.REPEATS)
    noise = mask_noise(config, indices, epoch)
    pixels, valid = batch.images, None
    if config.DATA.NODATA is not None:
        pixels, valid = split_coverage(cut, pixels)
    return pixels, {"noise": noise, "valid": valid}


def predicted_of(config: Config) -> float | None:
    """Read the share of all patches that a decoder of cross-attention predicts; None of another."""
    decoder = config.MODEL.DECODER
    return decoder.PREDICTED if decoder.KIND == "cross" else None
