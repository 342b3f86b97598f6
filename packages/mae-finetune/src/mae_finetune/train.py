"""One fine-tuning run."""

from collections.abc import Callable, Sequence

from paddle import nn

from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import plan_of, precision_of, trainer_of
from mae_core.stage.config.to_data_arguments import global_batch_of, loading_of, train_sampling_of
from mae_core.stage.run.lifecycle import Run, run_training
from mae_core.training.engine import Trainer
from mae_core.training.optim import Ema
from mae_core.training.precision import Precision
from mae_core.training.run_folder import RunFolder
from mae_core.training.validation import Validation
from mae_data.loading.loader import BatchLoader, make_loader
from mae_data.loading.sampler import TrainBatchSampler, steps_per_epoch
from mae_finetune.build import build_model
from mae_finetune.config import mixes
from mae_finetune.evaluate import score
from mae_finetune.optimizer import build_optimizer
from mae_finetune.tasks import task_of


def train(opened: Opened, allow_drift: Sequence[str] = ()) -> Trainer:
    """Fine-tune by the config; see `mae_core.stage.run.lifecycle.run_training`."""
    return run_training(opened, build_run, allow_drift)


def build_run(config: Config, folder: RunFolder | None = None) -> Run:
    """Put a run together: images, model, optimizer, loss and validation.

    Args:
        folder: where the run writes; None writes nothing.
    """
    task, t = task_of(config), config.TRAIN
    images, model = task.train_dataset(config), build_model(config)
    task.take_in(config, model, images)
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
        loss_fn=task.loss(config, images),
        precision=precision,
        folder=folder,
        loggers=config.LOGGERS,
        ema=Ema(model, t.EMA) if t.EMA else None,
        validation=_validation(config, precision, plan.steps_per_epoch),
        program="mae-finetune",
        **trainer_of(config, plan, images.images),
    )

    def batches(first: int, steps: int) -> BatchLoader:
        if folder and not first:
            task.measure_start(config, model, images, precision, folder.path)
        sampler = TrainBatchSampler(len(images), start_step=first, num_steps=steps, **train_sampling_of(config))
        return make_loader(images, sampler, **loading_of(config), stop=trainer.stopping)

    return Run(
        trainer,
        len(images),
        batches,
        task.card,
        free=["ROBUST", "DATA.CLASS_NAMES"],
        # Mixed images are of one batch, and dropped paths are drawn for it: cut otherwise, they differ.
        free_cut=not mixes(config) and config.MODEL.DROPPATH == 0 and not task.sees_batches,
        notes=images.notes(),
        skipped=images.skipped,
    )


def _validation(config: Config, precision: Precision, steps_per_epoch: int) -> Validation:
    if not config.VALIDATE_FREQ:
        return Validation()
    evaluation = task_of(config).open_evaluation(config, dropping=True)

    def evaluate(model: nn.Layer, step: int, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        counts = score(config, model, evaluation, precision, should_stop)
        return evaluation.figures(counts) if counts else None

    return Validation(
        evaluate,
        every=config.VALIDATE_FREQ * steps_per_epoch,
        best_by=evaluation.best_by,
        skipped=evaluation.dataset.skipped,
    )
