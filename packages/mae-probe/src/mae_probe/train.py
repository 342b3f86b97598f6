"""One linear-probing run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.errors import ConfigError
from mae_core.evaluation.classifier import score_batches
from mae_core.evaluation.scores import Scores
from mae_core.process import distributed, log
from mae_core.stage.classifier import best_by_of, class_weights_of
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import plan_of, precision_of, trainer_of
from mae_core.stage.config.to_data_arguments import global_batch_of, loading_of, train_sampling_of
from mae_core.stage.run.lifecycle import Run, run_training
from mae_core.stage.run.model_card import Card
from mae_core.training.engine import Trainer
from mae_core.training.plan import Samples
from mae_core.training.precision import Precision
from mae_core.training.run_folder import RunFolder
from mae_core.training.validation import Validation
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import TrainBatchSampler, steps_per_epoch
from mae_probe.build import build_model, eval_dataset, train_dataset
from mae_probe.evaluate import eval_batches
from mae_probe.extraction.encoding import RANDOM_INIT, head_features
from mae_probe.extraction.feature_set import CachedBatches
from mae_probe.extraction.start_features import measure_yardsticks
from mae_probe.model import LinearProbe
from mae_probe.optimizer import build_optimizer

CACHED = (
    "TRAIN.CACHE_FEATURES: each image is encoded once, without augmentation; this is faster than the paper's linear"
    " probe and not the same: do not compare its accuracy with published ones"
)
CARD = Card(
    "Probe of a masked autoencoder's features",
    "Measuring the features.",
    "It knows its classes only and gives one of them for any image. Its accuracy judges the features;"
    " fine-tuning reaches more.",
    "top1",
    "top-1 {:.2f} %",
)


def train(opened: Opened, allow_drift: Sequence[str] = ()) -> Trainer:
    """Train a probe by the config; see `mae_core.stage.run.lifecycle.run_training`."""
    if opened.config.TRAIN.CACHE_FEATURES and distributed.world_size() > 1:
        raise ConfigError("TRAIN.CACHE_FEATURES trains in seconds, on one process: start it without other ranks")
    if opened.config.MODEL.RANDOM_INIT:
        opened = replace(opened, config=_without_weights(opened.config), weights=None)
    return run_training(opened, build_run, allow_drift)


def _without_weights(config: Config) -> Config:
    """Take MODEL.PRETRAINED out: it showed what the model is, and its weights are not loaded."""
    config = config.clone()
    config.defrost()
    config.MODEL.PRETRAINED = None
    config.freeze()
    return config


def build_run(config: Config, folder: RunFolder | None = None) -> Run:
    """Put a run together: images, or their features, probe, optimizer, loss and validation.

    Args:
        folder: where the run writes; None writes nothing.
    """
    if config.TRAIN.CACHE_FEATURES:
        log.LOGGER.warning(CACHED)
    images, model = train_dataset(config), build_model(config)
    plan = plan_of(config, steps_per_epoch(len(images), **global_batch_of(config)))
    precision = precision_of(config)
    trainer = Trainer(
        model=model,
        optimizer=build_optimizer(model, config.TRAIN),
        loss_fn=partial(probe_loss, class_weights_of(config, images.images.labels)),
        precision=precision,
        folder=folder,
        loggers=config.LOGGERS,
        validation=_validation(config, precision, plan.steps_per_epoch),
        program="mae-probe",
        **trainer_of(config, plan, images.images),
    )
    batches = partial(_batches, config, images, model, trainer)
    # The batch norm sees a forward pass of all ranks: other ones, other statistics.
    free, notes = ["NO_CACHE"], images.notes()
    return Run(trainer, len(images), batches, CARD, free, free_cut=False, notes=notes, skipped=images.skipped)


def _batches(
    config: Config, images: ListDataset, model: LinearProbe, trainer: Trainer, first: int, steps: int
) -> Iterable[Samples]:
    """Load this rank's training batches, or batches of the features that all images are encoded to first.

    Args:
        first: first step to load, counted over the whole run.
        steps: steps of the whole run.
    """
    if config.MODEL.RANDOM_INIT:
        log.LOGGER.info(RANDOM_INIT)
    elif not (config.MODEL.PRETRAINED or first):
        log.LOGGER.warning("no -pretrained: the features that are probed are those of random weights")
    sampler = TrainBatchSampler(len(images), start_step=first, num_steps=steps, **train_sampling_of(config))
    if config.TRAIN.CACHE_FEATURES:
        if trainer.folder and not first:
            measure_yardsticks(config, images, trainer.precision, trainer.folder.path)
        return CachedBatches(head_features(config, model, images, trainer.precision), sampler)
    return make_loader(images, sampler, **loading_of(config), stop=trainer.stopping)


def _validation(config: Config, precision: Precision, steps_per_epoch: int) -> Validation:
    if not config.VALIDATE_FREQ:
        return Validation()
    dataset = eval_dataset(config, config.DATA.VAL_LIST, dropping=True)
    known: list[Iterable[Samples]] = []  # with CACHE_FEATURES, what the first validation has encoded

    def evaluate(model: nn.Layer, step: int, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        if config.TRAIN.CACHE_FEATURES and not known:
            assert isinstance(model, LinearProbe)
            known.append([head_features(config, model, dataset, precision).batch()])
        batches = known[0] if known else eval_batches(config, dataset, should_stop)
        scores = score_batches(
            model,
            batches,
            Scores(config.MODEL.NUM_CLASSES, len(dataset)),
            precision,
            should_stop=should_stop,
            name="image {} of the cache".format if known else dataset.images.describe,
        )
        return scores.figures() if scores else None

    return Validation(
        evaluate,
        every=config.VALIDATE_FREQ * steps_per_epoch,
        best_by=best_by_of(config, dataset.images.labels),
        skipped=dataset.skipped,
    )


def probe_loss(weights: Tensor | None, model: nn.Layer, batch: Samples, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Score the model on a batch: cross-entropy, in float32; images by the weights [K] of their classes where given."""
    logits = model(batch.images).astype("float32")
    if weights is None:
        return F.cross_entropy(logits, batch.labels), {}
    each = F.cross_entropy(logits, batch.labels, reduction="none")  # [N]
    return (each * weights[batch.labels]).mean(), {}
