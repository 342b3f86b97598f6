"""One pre-training run."""

from collections.abc import Sequence
from functools import partial

from paddle import Tensor, nn

from mae_core.config import Config, to_dict
from mae_core.stage.arguments import plan_of, precision_of, schedule_of, train_sampling_of
from mae_core.stage.run import begin, describe, fit, open_run
from mae_core.training.engine import Trainer
from mae_core.training.optim import build_adamw
from mae_core.training.run_folder import RunFolder
from mae_data.dataset import ListDataset
from mae_data.loader import make_loader
from mae_data.sampler import TrainBatchSampler
from mae_pretrain.build import build_model, mask_key, train_dataset

Batch = tuple[Tensor, Tensor, Tensor]


def train(config: Config, allow_drift: Sequence[str] = ()) -> None:
    """Pre-train as the config says; resume where MODEL.RESUME asks for it.

    Args:
        allow_drift: keys that may differ from the resumed checkpoint's config.

    Raises:
        UserError: input, data, checkpoint or loss that a run cannot go on with.
    """
    folder = open_run(config.SAVE)
    dataset = train_dataset(config)
    sampler = partial(TrainBatchSampler, len(dataset), **train_sampling_of(config))
    trainer = _trainer(config, dataset, folder, sampler(num_steps=0).steps_per_epoch)
    begin(
        trainer,
        output=config.SAVE,
        resume=config.MODEL.RESUME,
        pretrained=config.MODEL.PRETRAINED,
        allow_drift=allow_drift,
    )
    describe(trainer, config.MODEL.NAME, len(dataset))
    batches = sampler(start_step=trainer.step, num_steps=trainer.plan.total_steps)
    fit(trainer, make_loader(dataset, batches, num_workers=config.DATA.NUM_WORKERS), config.SAVE)


def _trainer(config: Config, dataset: ListDataset, folder: RunFolder | None, steps_per_epoch: int) -> Trainer:
    model = build_model(config)
    t = config.TRAIN
    plan = plan_of(config, steps_per_epoch)
    return Trainer(
        model=model,
        optimizer=build_adamw(model, weight_decay=t.WEIGHT_DECAY, betas=t.OPTIMIZER.BETAS, eps=t.OPTIMIZER.EPS),
        loss_fn=partial(pretrain_loss, config),
        lr_at=schedule_of(config, plan),
        plan=plan,
        precision=precision_of(config),
        folder=folder,
        config=to_dict(config),
        describe=lambda batch: dataset.images.describe_batch(batch[2].numpy()),
    )


def pretrain_loss(config: Config, model: nn.Layer, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Score one batch of uint8 images; each sample's mask depends on (SEED, epoch, sample index) only."""
    images, _, indices = batch
    key = mask_key(config, indices, epoch)
    loss, _, _ = model(images, config.MODEL.MASK_RATIO, noise=key, return_pred=False)
    return loss, {}
