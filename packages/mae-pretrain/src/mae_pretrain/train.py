"""One pre-training run."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from paddle import Tensor, nn

from mae_core import distributed, log, runtime
from mae_core.atomic import write_atomic
from mae_core.checkpoint import list_checkpoints, newest_checkpoint, read_state, sweep
from mae_core.config import drifted_keys, to_dict
from mae_core.engine import Plan, Trainer
from mae_core.errors import CheckpointError, ConfigError
from mae_core.meters import clock
from mae_core.optim import build_adamw
from mae_core.precision import Precision
from mae_core.run_folder import RunFolder
from mae_core.schedule import scaled_lr, warmup_cosine
from mae_core.weights.load import load_pretrained
from mae_data.dataset import ListDataset
from mae_data.loader import make_loader
from mae_data.sampler import TrainBatchSampler
from mae_pretrain.build import batch_noise, build_model, train_dataset
from mae_pretrain.config import FREE_ON_RESUME, Config

Batch = tuple[Tensor, Tensor, Tensor]


def train(config: Config, allow_drift: Sequence[str] = ()) -> None:
    """Pre-train as the config says; resume where MODEL.RESUME asks for it.

    Args:
        allow_drift: keys that may differ from the resumed checkpoint's config.

    Raises:
        UserError: input, data, checkpoint or loss that a run cannot go on with.
    """
    distributed.init()
    logger = log.setup(distributed.is_main())
    folder = RunFolder(config.SAVE) if distributed.is_main() else None
    if folder:
        sweep(folder.checkpoints)
    runtime.log_choice(logger.info)
    dataset = train_dataset(config)
    sampler = partial(_sampler, config, len(dataset))
    trainer = _trainer(config, dataset, folder, sampler(0, 0).steps_per_epoch)
    _start(config, trainer, allow_drift)
    if folder:
        write_atomic(folder.config, yaml.safe_dump(to_dict(config), sort_keys=False).encode())
    _describe(config, trainer, dataset)
    started, first = time.perf_counter(), trainer.step
    loader = make_loader(dataset, sampler(first, trainer.plan.total_steps), num_workers=config.DATA.NUM_WORKERS)
    trainer.fit(loader)
    _summarise(config, trainer, time.perf_counter() - started, first)


def global_batch(config: Config, world_size: int) -> int:
    """Images a step over all ranks and accumulated batches."""
    return int(config.DATA.BATCH_SIZE * config.TRAIN.ACCUM_ITER * world_size)


def _sampler(config: Config, images: int, start: int, steps: int) -> TrainBatchSampler:
    return TrainBatchSampler(
        images,
        config.DATA.BATCH_SIZE,
        accum_iter=config.TRAIN.ACCUM_ITER,
        seed=config.SEED,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        start_step=start,
        num_steps=steps,
    )


def _trainer(config: Config, dataset: ListDataset, folder: RunFolder | None, steps_per_epoch: int) -> Trainer:
    model = build_model(config)
    t = config.TRAIN
    lr = t.BASE_LR
    if t.LINEAR_SCALED_LR:
        lr = scaled_lr(t.BASE_LR, global_batch(config, distributed.world_size()), t.LINEAR_SCALED_LR)
    plan = Plan(
        steps_per_epoch=steps_per_epoch,
        total_steps=t.NUM_EPOCHS * steps_per_epoch,
        accum_iter=t.ACCUM_ITER,
        clip_grad=t.GRAD_CLIP,
        seed=config.SEED,
        report_freq=config.REPORT_FREQ,
        save_freq=config.SAVE_FREQ * steps_per_epoch,
        keep=config.SAVE_KEEP,
    )
    return Trainer(
        model=model,
        optimizer=build_adamw(model, weight_decay=t.WEIGHT_DECAY, betas=t.OPTIMIZER.BETAS, eps=t.OPTIMIZER.EPS),
        loss_fn=partial(pretrain_loss, config),
        lr_at=partial(
            warmup_cosine,
            lr=lr,
            min_lr=t.END_LR,
            warmup_epochs=t.WARMUP_EPOCHS,
            epochs=t.NUM_EPOCHS,
            warmup_start_lr=t.WARMUP_START_LR,
        ),
        plan=plan,
        precision=Precision(config.AMP, config.AMP_DTYPE, log.LOGGER.info),
        folder=folder,
        config=to_dict(config),
        describe=lambda batch: ", ".join(dataset.images.describe(int(i)) for i in batch[2].numpy()[:8]),
    )


def pretrain_loss(config: Config, model: nn.Layer, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Score one batch of uint8 images; each sample's mask depends on (SEED, epoch, sample index) only."""
    images, _, indices = batch
    noise = batch_noise(config, model, indices, epoch)
    loss, _, _ = model(images, config.MODEL.MASK_RATIO, noise=noise, return_pred=False)
    return loss, {}


def _start(config: Config, trainer: Trainer, allow_drift: Sequence[str]) -> None:
    """Begin anew, from weights, or where another run stopped."""
    own = Path(config.SAVE) / "checkpoints"
    if config.MODEL.RESUME:
        _resume(config, trainer, own, allow_drift)
    elif list_checkpoints(own):
        raise ConfigError(f"{config.SAVE} holds a run already; go on with -resume auto, or choose another -output")
    elif config.MODEL.PRETRAINED:
        for line in load_pretrained(trainer.model, config.MODEL.PRETRAINED).lines():
            log.LOGGER.info(line)


def _resume(config: Config, trainer: Trainer, own: Path, allow_drift: Sequence[str]) -> None:
    source = own.parent if config.MODEL.RESUME == "auto" else Path(config.MODEL.RESUME)
    if (source / "state.json").exists():
        checkpoint, state = source, read_state(source)
    else:
        checkpoint, state = newest_checkpoint(source / "checkpoints", log.LOGGER.warning)
    _refuse_drift(config, state, allow_drift)
    trainer.resume(checkpoint, state)
    log.LOGGER.info(f"resumed from {checkpoint} at step {trainer.step}")


def _refuse_drift(config: Config, state: dict[str, Any], allow_drift: Sequence[str]) -> None:
    free = (*FREE_ON_RESUME, *allow_drift)
    saved = state["config"]
    saved_batch = saved["DATA"]["BATCH_SIZE"] * saved["TRAIN"]["ACCUM_ITER"] * state["world_size"]
    now_batch = global_batch(config, distributed.world_size())
    if saved_batch == now_batch:  # the same steps, cut up otherwise
        free = (*free, "DATA.BATCH_SIZE", "TRAIN.ACCUM_ITER")
    drift = drifted_keys(saved, to_dict(config), free)
    if saved_batch != now_batch and "DATA.BATCH_SIZE" not in allow_drift:
        drift["global batch"] = (saved_batch, now_batch)
    if drift:
        listed = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in drift.items())
        raise CheckpointError(f"the resumed run had another config: {listed}. Restore it, or pass --allow-drift KEY")


def _describe(config: Config, trainer: Trainer, dataset: ListDataset) -> None:
    plan, world = trainer.plan, distributed.world_size()
    parameters = sum(int(p.size) for p in trainer.model.parameters())
    log.LOGGER.info(
        f"{config.MODEL.NAME}: {parameters:,} parameters; {len(dataset):,} images,"
        f" {plan.steps_per_epoch} steps an epoch,"
        f" {config.TRAIN.NUM_EPOCHS} epochs; batch {config.DATA.BATCH_SIZE} x {world} ranks x {plan.accum_iter}"
        f" = {global_batch(config, world)}"
    )


def _summarise(config: Config, trainer: Trainer, seconds: float, first: int) -> None:
    images = (trainer.plan.total_steps - first) * global_batch(config, distributed.world_size())
    log.LOGGER.info(
        f"done: {trainer.plan.total_steps} steps in {clock(seconds)} ({images / max(seconds, 1e-9):.0f} images/s);"
        f" checkpoints and log in {config.SAVE}"
    )
