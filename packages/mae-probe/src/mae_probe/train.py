"""One linear-probing run."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core import distributed, log
from mae_core.config import Config, to_dict
from mae_core.errors import ConfigError
from mae_core.evaluation.classifier import score
from mae_core.evaluation.scores import Scores
from mae_core.stage.arguments import plan_of, precision_of, schedule_of, train_sampling_of
from mae_core.stage.run import begin, describe, fit, open_run
from mae_core.training.engine import Trainer
from mae_core.training.optim import trainable
from mae_core.training.precision import Precision
from mae_core.training.run_folder import RunFolder
from mae_core.training.validation import Validation
from mae_data.dataset import ListDataset
from mae_data.loader import make_loader
from mae_data.sampler import TrainBatchSampler
from mae_probe.build import build_model, eval_dataset, train_dataset
from mae_probe.evaluate import eval_batches
from mae_probe.features import CachedBatches, encode
from mae_probe.lars import Lars
from mae_probe.model import LinearProbe

Batch = tuple[Tensor, Tensor, Tensor]
CACHED = (
    "TRAIN.CACHE_FEATURES: each image is encoded once, without augmentation; this is faster than the paper's linear"
    " probe and not the same: do not compare its accuracy with published ones"
)


def train(config: Config, allow_drift: Sequence[str] = ()) -> None:
    """Train a probe as the config says; resume where MODEL.RESUME asks for it.

    Args:
        allow_drift: keys that may differ from the resumed checkpoint's config.

    Raises:
        UserError: input, data, checkpoint or loss that a run cannot go on with.
    """
    cached = config.TRAIN.CACHE_FEATURES
    if cached and distributed.world_size() > 1:
        raise ConfigError("TRAIN.CACHE_FEATURES trains in seconds, on one process: start it without other ranks")
    folder = open_run(config.SAVE)
    if cached:
        log.LOGGER.warning(CACHED)
    dataset, model = train_dataset(config), build_model(config)
    sampler = partial(TrainBatchSampler, len(dataset), **train_sampling_of(config))
    trainer = _trainer(config, model, dataset, folder, sampler(num_steps=0).steps_per_epoch)
    begin(
        trainer,
        output=config.SAVE,
        resume=config.MODEL.RESUME,
        pretrained=config.MODEL.PRETRAINED,
        allow_drift=allow_drift,
        free_cut=False,  # the batch norm sees a forward pass of all ranks: other ones, other statistics
    )
    if not (config.MODEL.PRETRAINED or trainer.step):
        log.LOGGER.warning("no -pretrained: the features that are probed are those of random weights")
    describe(trainer, config.MODEL.NAME, len(dataset))
    batches = sampler(start_step=trainer.step, num_steps=trainer.plan.total_steps)
    loader: Iterable[Batch] = make_loader(dataset, batches, num_workers=config.DATA.NUM_WORKERS)
    if cached:
        loader = CachedBatches(encode(config, model, dataset, trainer.precision), batches)
    fit(trainer, loader, config.SAVE)


def _trainer(
    config: Config, model: LinearProbe, dataset: ListDataset, folder: RunFolder | None, steps_per_epoch: int
) -> Trainer:
    t = config.TRAIN
    plan = plan_of(config, steps_per_epoch)
    precision = precision_of(config)
    return Trainer(
        model=model,
        optimizer=Lars(
            [p for _, p in trainable(model)],
            momentum=t.OPTIMIZER.MOMENTUM,
            weight_decay=t.WEIGHT_DECAY,
            trust=t.OPTIMIZER.TRUST,
        ),
        loss_fn=probe_loss,
        lr_at=schedule_of(config, plan),
        plan=plan,
        precision=precision,
        folder=folder,
        config=to_dict(config),
        describe=lambda batch: dataset.images.describe_batch(batch[2].numpy()),
        validation=_validation(config, precision, steps_per_epoch),
    )


def _validation(config: Config, precision: Precision, steps_per_epoch: int) -> Validation:
    if not config.VALIDATE_FREQ:
        return Validation()
    dataset = eval_dataset(config, config.DATA.VAL_LIST)
    known: list[Iterable[Batch]] = []  # with CACHE_FEATURES, what the first validation has encoded

    def evaluate(model: nn.Layer, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        if config.TRAIN.CACHE_FEATURES and not known:
            known.append([encode(config, model, dataset, precision).batch()])
        batches = known[0] if known else eval_batches(config, dataset)
        scores = score(
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
    inputs, labels, _ = batch
    return F.cross_entropy(model(inputs).astype("float32"), labels), {}
