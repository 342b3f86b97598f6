"""One linear-probing run."""

from collections.abc import Callable, Iterable, Sequence

from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.errors import ConfigError
from mae_core.evaluation.classifier import score_batches
from mae_core.evaluation.scores import Scores
from mae_core.process import distributed, log
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import (
    global_batch_of,
    loading_of,
    plan_of,
    precision_of,
    train_sampling_of,
    trainer_of,
)
from mae_core.stage.run.lifecycle import Run, run_training
from mae_core.training.batch import Batch
from mae_core.training.engine import Trainer
from mae_core.training.precision import Precision
from mae_core.training.run_folder import RunFolder
from mae_core.training.validation import Validation
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import make_train_loader
from mae_data.loading.sampler import TrainBatchSampler, steps_per_epoch
from mae_probe.build import build_model, eval_dataset, train_dataset
from mae_probe.evaluate import eval_batches
from mae_probe.extraction.encoding import RANDOM_INIT, head_features
from mae_probe.extraction.feature_set import CachedBatches
from mae_probe.heads.model import LinearProbe
from mae_probe.optimizer import build_optimizer

CACHED = (
    "TRAIN.CACHE_FEATURES: each image is encoded once, without augmentation; this is faster than the paper's linear"
    " probe and not the same: do not compare its accuracy with published ones"
)


def train(config: Config, allow_drift: Sequence[str] = ()) -> Trainer:
    """Train a probe as the config says; see `mae_core.stage.run.lifecycle.run_training`."""
    cached = config.TRAIN.CACHE_FEATURES
    if cached and distributed.world_size() > 1:
        raise ConfigError("TRAIN.CACHE_FEATURES trains in seconds, on one process: start it without other ranks")
    if config.MODEL.RANDOM_INIT:
        config = _without_weights(config)
    return run_training(config, build_run, allow_drift)


def _without_weights(config: Config) -> Config:
    """Take MODEL.PRETRAINED out: it said what the model is, and its weights are not loaded."""
    config = config.clone()
    config.defrost()
    config.MODEL.PRETRAINED = None
    config.freeze()
    return config


def build_run(config: Config, folder: RunFolder | None = None) -> Run:
    """Open the training images and build what trains on them, or on their features."""
    cached = config.TRAIN.CACHE_FEATURES
    if cached:
        log.LOGGER.warning(CACHED)
    dataset, model = train_dataset(config), build_model(config)
    trainer = build_trainer(config, dataset, folder, model)

    def batches(first: int, steps: int) -> Iterable[Batch]:
        if config.MODEL.RANDOM_INIT:
            log.LOGGER.info(RANDOM_INIT)
        elif not (config.MODEL.PRETRAINED or first):
            log.LOGGER.warning("no -pretrained: the features that are probed are those of random weights")
        sampling = train_sampling_of(config)
        if cached:
            sampler = TrainBatchSampler(len(dataset), start_step=first, num_steps=steps, **sampling)
            return CachedBatches(head_features(config, model, dataset, trainer.precision), sampler)
        return make_train_loader(dataset, sampling, loading_of(config), trainer.stopping, first, steps)

    # The batch norm sees a forward pass of all ranks: other ones, other statistics.
    return Run(
        trainer,
        len(dataset),
        batches,
        free_cut=False,
        notes=dataset.notes(),
        closing=dataset.skipped,
        free=["KEEP_FEATURES"],
    )


def build_trainer(
    config: Config, dataset: ListDataset, folder: RunFolder | None = None, model: LinearProbe | None = None
) -> Trainer:
    """Build probe, optimizer, loss and validation of a config.

    Args:
        dataset: the training images.
        folder: where the run writes; None writes nothing.
        model: the probe; built from the config when None.
    """
    model = model or build_model(config)
    plan = plan_of(config, steps_per_epoch(len(dataset), **global_batch_of(config)))
    precision = precision_of(config)
    return Trainer(
        model=model,
        optimizer=build_optimizer(model, config.TRAIN),
        loss_fn=probe_loss,
        precision=precision,
        folder=folder,
        loggers=config.LOGGERS,
        **trainer_of(config, plan, dataset.images),
        validation=_validation(config, precision, plan.steps_per_epoch),
    )


def _validation(config: Config, precision: Precision, steps_per_epoch: int) -> Validation:
    if not config.VALIDATE_FREQ:
        return Validation()
    dataset = eval_dataset(config, config.DATA.VAL_LIST)
    known: list[Iterable[Batch]] = []  # with CACHE_FEATURES, what the first validation has encoded

    def evaluate(model: nn.Layer, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        if config.TRAIN.CACHE_FEATURES and not known:
            assert isinstance(model, LinearProbe)
            known.append([head_features(config, model, dataset, precision).batch()])
        batches = known[0] if known else eval_batches(config, dataset, should_stop)
        scores = score_batches(
            model,
            batches,
            Scores(config.MODEL.NUM_CLASSES),
            precision,
            should_stop=should_stop,
            name="image {} of the cache".format if known else dataset.images.describe,
        )
        return scores.figures() if scores else None

    return Validation(evaluate, every=config.VALIDATE_FREQ * steps_per_epoch)


def probe_loss(model: nn.Layer, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Score the model on a batch: cross-entropy, in float32."""
    return F.cross_entropy(model(batch.images).astype("float32"), batch.labels), {}
