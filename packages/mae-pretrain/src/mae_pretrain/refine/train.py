"""One run of refinement."""

from collections.abc import Sequence
from functools import partial

import paddle
from paddle import Tensor, nn

from mae_core.errors import ConfigError
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import encoder_of, plan_of, precision_of, trainer_of
from mae_core.stage.config.to_data_arguments import (
    cropping_of,
    global_batch_of,
    images_of,
    loading_of,
    train_sampling_of,
)
from mae_core.stage.run.lifecycle import Run, run_training
from mae_core.stage.run.model_card import Card
from mae_core.training.engine import Trainer
from mae_core.training.optim import Ema, scaled_lr
from mae_core.training.plan import Plan, Samples
from mae_core.training.run_folder import RunFolder
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import BatchLoader, make_loader
from mae_data.loading.sampler import TrainBatchSampler, steps_per_epoch
from mae_data.transforms.pipelines import make_pretrain_transform
from mae_pretrain.monitor.look import monitoring
from mae_pretrain.refine.heads import HeadSettings
from mae_pretrain.refine.model import RefinedEncoder
from mae_pretrain.refine.optimizer import build_optimizer
from mae_pretrain.refine.schedule import TwoStages
from mae_pretrain.refine.views import BrightnessJitter, ViewSampler

CARD = Card(
    "Masked autoencoder, refined",
    "Features for kNN, retrieval, probing and fine-tuning.",
    "It tells apart what looks alike, not classes; what crops and flips of an image share is what it keeps.",
)


def train(opened: Opened, allow_drift: Sequence[str] = ()) -> Trainer:
    """Refine by the config; see `mae_core.stage.run.lifecycle.run_training`.

    Raises:
        ConfigError: there is nothing to refine.
    """
    if not (opened.weights or opened.checkpoint):
        raise ConfigError("refine begins with a finished model: -pretrained RUN, a checkpoint folder or a weight file")
    return run_training(opened, build_run, allow_drift)


def build_run(config: Config, folder: RunFolder | None = None) -> Run:
    """Put a run together: images, model, optimizer, loss, and what looks at the model meanwhile.

    Args:
        folder: where the run writes; None writes nothing.
    """
    t, images = config.TRAIN, view_dataset(config)
    plan = plan_of(config, steps_per_epoch(len(images), **global_batch_of(config)))
    model, stages = build_model(config, len(images)), stages_of(config, plan)
    optimizer = build_optimizer(
        model,
        layer_decay=t.LAYER_DECAY,
        weight_decay=t.WEIGHT_DECAY,
        heads_weight_decay=t.HEADS_WEIGHT_DECAY,
        betas=t.OPTIMIZER.BETAS,
        eps=t.OPTIMIZER.EPS,
    )
    precision, arguments = precision_of(config), trainer_of(config, plan, images)
    arguments["lr_at"] = stages.lr_at
    trainer = Trainer(
        model=model,
        optimizer=optimizer,
        loss_fn=partial(refine_loss, stages, config.SEED),
        precision=precision,
        folder=folder,
        loggers=config.LOGGERS,
        ema=Ema(model, t.EMA, lambda name: not name.startswith("head.")) if t.EMA else None,
        validation=monitoring(config, precision, plan.steps_per_epoch, run=None),
        program="mae-pretrain refine",
        **arguments,
    )

    def batches(start_step: int, num_steps: int) -> BatchLoader:
        drawn = TrainBatchSampler(len(images), **train_sampling_of(config), start_step=start_step, num_steps=num_steps)
        sampler = ViewSampler(drawn, config.DATA.VIEWS)
        return make_loader(images, sampler, **loading_of(config), stop=trainer.stopping)

    notes = [*images.notes(), *_warn_of_average(t.EMA, plan.total_steps)]
    # Negatives are of one forward pass, so a global batch that is cut otherwise is another contrast.
    return Run(
        trainer, len(images), batches, CARD, free=("MONITOR",), free_cut=False, notes=notes, skipped=images.skipped
    )


def _warn_of_average(decay: float | None, steps: int) -> list[str]:
    """Return a line where the averages are hardly those of a run so short."""
    left = decay**steps if decay else 0.0
    if left < 0.1:
        return []
    return [
        f"TRAIN.EMA={decay}: after {steps:,} steps the averages, which are the result, are still {left:.0%} the weights"
        " that the run began with; use a smaller one, or None"
    ]


def view_dataset(config: Config) -> ListDataset:
    """Open the training list with what makes a view; labels are not needed."""
    d, images = config.DATA, images_of(config, "optional", training=True)
    with values_from_config():
        crop = make_pretrain_transform(**cropping_of(config))
    low, high = (0, d.VALUE_RANGE) if isinstance(d.VALUE_RANGE, int) else d.VALUE_RANGE
    transform = BrightnessJitter(crop, d.JITTER, low, high) if d.JITTER else crop
    return ListDataset(list_file=d.TRAIN_LIST, transform=transform, reuse=True, **images)


def build_model(config: Config, images: int) -> RefinedEncoder:
    """Build the model of a config, initialised from SEED alone.

    Args:
        images: training images; a queue remembers each once at most.
    """
    paddle.seed(config.SEED)
    h = config.MODEL.HEADS
    settings = HeadSettings(
        out_dim=h.DIM,
        projector_dim=h.PROJECTOR_DIM,
        predictor_dim=h.PREDICTOR_DIM,
        queue=min(h.QUEUE, images),
        neighbours=h.NEIGHBOURS,
        temperature=h.TEMPERATURE,
    )
    number = h.NUMBER or -(-config.MODEL.ENCODER.DEPTH // 3)
    with values_from_config():
        model = RefinedEncoder(
            heads=number,
            settings=settings,
            views=config.DATA.VIEWS,
            mask_ratio=config.MODEL.MASK_RATIO,
            **encoder_of(config, config.MODEL.DROPPATH),
        )
    model.grad_checkpointing = config.MODEL.GRAD_CHECKPOINTING
    return model


def stages_of(config: Config, plan: Plan) -> TwoStages:
    """Read the learning rate of the two stages."""
    t = config.TRAIN
    lr, heads_lr = (scaled_lr(rate, plan.global_batch, t.LINEAR_SCALED_LR) for rate in (t.BASE_LR, t.HEADS_LR))
    return TwoStages(
        heads_epochs=t.HEADS_EPOCHS,
        epochs=t.NUM_EPOCHS,
        heads_lr=heads_lr,
        lr=lr,
        min_lr=t.END_LR,
        warmup_epochs=t.WARMUP_EPOCHS,
        warmup_start_lr=t.WARMUP_START_LR,
    )


def refine_loss(
    stages: TwoStages, seed: int, model: nn.Layer, batch: Samples, epoch: int
) -> tuple[Tensor, dict[str, float]]:
    """Score one batch of views, the encoder's gradients left out in the first stage."""
    return model(batch.images, batch.indices, seed, epoch, stages.heads_alone(epoch)), {}
