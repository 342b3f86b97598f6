"""One fine-tuning run."""

from collections.abc import Callable, Sequence
from functools import partial

from paddle import Tensor, nn

from mae_core.stage.classifier import best_by_of, class_weights_of
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import plan_of, precision_of, statistics_of, trainer_of
from mae_core.stage.config.to_data_arguments import global_batch_of, loading_of, train_sampling_of
from mae_core.stage.run.lifecycle import Run, run_training
from mae_core.training.ema import Ema
from mae_core.training.engine import Trainer
from mae_core.training.precision import Precision
from mae_core.training.run_folder import RunFolder
from mae_core.training.samples import Samples
from mae_core.training.validation import Validation
from mae_data.loading.loader import make_train_loader
from mae_data.loading.sampler import steps_per_epoch
from mae_data.transforms.mixup import Mixup
from mae_finetune.build import build_model, train_dataset
from mae_finetune.class_names import training_names
from mae_finetune.config import mixes
from mae_finetune.evaluate import open_eval_set, score_eval_set
from mae_finetune.loss import soft_target_cross_entropy
from mae_finetune.mixing import BatchMixer
from mae_finetune.optimizer import build_optimizer


def train(opened: Opened, allow_drift: Sequence[str] = ()) -> Trainer:
    """Fine-tune by the config; see `mae_core.stage.run.lifecycle.run_training`."""
    return run_training(opened, build_run, allow_drift)


def build_run(config: Config, folder: RunFolder | None = None) -> Run:
    """Put a run together: images, model, optimizer, loss and validation.

    Args:
        folder: where the run writes; None writes nothing.
    """
    images, t = train_dataset(config), config.TRAIN
    model = build_model(config)
    model.name_classes(training_names(config, images.images))
    optimizer = build_optimizer(
        model,
        name=t.OPTIMIZER.NAME,
        weight_decay=t.WEIGHT_DECAY,
        betas=t.OPTIMIZER.BETAS,
        eps=t.OPTIMIZER.EPS,
        layer_decay=t.LAYER_DECAY or 1.0,
    )
    plan = plan_of(config, steps_per_epoch(len(images), **global_batch_of(config)))
    precision = precision_of(config)
    trainer = Trainer(
        model=model,
        optimizer=optimizer,
        loss_fn=partial(finetune_loss, _mixer(config, class_weights_of(config, images.images.labels))),
        precision=precision,
        folder=folder,
        loggers=config.LOGGERS,
        ema=Ema(model, t.EMA) if t.EMA else None,
        validation=_validation(config, precision, plan.steps_per_epoch),
        program="mae-finetune",
        **trainer_of(config, plan, images.images),
    )
    batches = partial(make_train_loader, images, train_sampling_of(config), loading_of(config), trainer.stopping)
    return Run(
        trainer,
        len(images),
        batches,
        free=["ROBUST", "DATA.CLASS_NAMES"],
        # Mixed images are of one batch, and dropped paths are drawn for it: cut otherwise, they differ.
        free_cut=not mixes(config) and config.MODEL.DROPPATH == 0,
        notes=images.notes(),
        closing=images.skipped,
    )


def _validation(config: Config, precision: Precision, steps_per_epoch: int) -> Validation:
    if not config.VALIDATE_FREQ:
        return Validation()
    eval_set = open_eval_set(config, dropping=True)

    def evaluate(model: nn.Layer, step: int, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        scores = score_eval_set(config, model, eval_set, precision, should_stop)
        return scores.figures() if scores else None

    return Validation(
        evaluate,
        every=config.VALIDATE_FREQ * steps_per_epoch,
        best_by=best_by_of(config, eval_set.labels),
        skipped=eval_set.dataset.skipped,
    )


def _mixer(config: Config, class_weights: Tensor | None = None) -> BatchMixer:
    t, (mean, std) = config.TRAIN, statistics_of(config)
    mixup = Mixup(t.MIXUP_ALPHA, t.CUTMIX_ALPHA, t.MIXUP_PROB, t.MIXUP_SWITCH_PROB, t.MIXUP_MODE)
    return BatchMixer(
        mixup, config.MODEL.NUM_CLASSES, t.SMOOTHING, mean, std, config.SEED, config.DATA.VALUE_RANGE, class_weights
    )


def finetune_loss(mixer: BatchMixer, model: nn.Layer, batch: Samples, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Mix a batch of images and score the model on it."""
    images, targets = mixer(batch.images, batch.labels, batch.indices, epoch)
    return soft_target_cross_entropy(model(images), targets), {}
