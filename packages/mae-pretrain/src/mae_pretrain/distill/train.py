"""One run of distillation."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from paddle import Tensor, nn

from mae_core.errors import ConfigError
from mae_core.models.cost import ModelSize, mae_macs
from mae_core.models.encoder import ViTEncoder
from mae_core.ops.patches import Pixels
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.run.lifecycle import Run, run_training
from mae_core.stage.run.model_card import Card
from mae_core.stage.saved_model import load_opened
from mae_core.training.engine import Trainer
from mae_core.training.plan import Samples
from mae_core.training.run_folder import RunFolder
from mae_core.weights.checkpoint_folder import open_weights
from mae_core.weights.sources import Weights
from mae_pretrain.build import build_autoencoder
from mae_pretrain.distill.student import Student
from mae_pretrain.distill.teacher import Teacher
from mae_pretrain.train import assemble, masked_batch, predicted_of

CARD = Card(
    "Masked autoencoder, distilled",
    "Features for fine-tuning, probing and retrieval where the model has to be small.",
    "It predicts pixels, and attends as a larger model does; it knows no classes.",
)


def train(opened: Opened, allow_drift: Sequence[str] = ()) -> Trainer:
    """Distill by the config; see `mae_core.stage.run.lifecycle.run_training`."""
    return run_training(opened, partial(build_run, weights=opened.teacher), allow_drift)


def build_run(config: Config, folder: RunFolder | None = None, weights: Weights | None = None) -> Run:
    """Put a run together: pre-training's, with another model and loss.

    Args:
        folder: where the run writes; None writes nothing.
        weights: the teacher's; None opens MODEL.TEACHER.

    Raises:
        ConfigError: there is no teacher, or its patches are others than the student's.
    """
    if not config.MODEL.TEACHER:
        raise ConfigError("distill learns from a finished model: -pretrained RUN, a checkpoint folder or a weight file")
    weights = weights or open_weights(config.MODEL.TEACHER)
    teacher = Teacher(load_opened(weights))
    build = partial(build_student, teacher=teacher.encoder)
    run = assemble(config, folder, build, partial(distill_loss, teacher))
    run.trainer.program = "mae-pretrain distill"
    run.trainer.data = {**run.trainer.data, "teacher": {"sha256": weights.fingerprint()}}
    macs = encoder_macs(teacher.encoder, config.MODEL.MASK_RATIO)
    return replace(run, card=CARD, free=(*run.free, "MODEL.TEACHER"), frozen_macs=macs)


def build_student(config: Config, teacher: ViTEncoder) -> Student:
    """Build the student of a config, initialised from SEED alone.

    Raises:
        ConfigError: it cuts images otherwise than the teacher.
    """
    student = build_autoencoder(config, partial(Student, teacher_heads=teacher.blocks[-1].attn.num_heads))
    sizes = [(model.img_size, model.in_chans, model.patch_size) for model in (teacher, student)]
    if sizes[0] != sizes[1]:
        told = ["{0[0]}x{0[1]} pixels of {1} channels in patches of {2}".format(*size) for size in sizes]
        raise ConfigError(
            f"the teacher {config.MODEL.TEACHER} sees {told[0]}, the student {told[1]}: attention is compared patch by"
            " patch, so DATA.IMAGE_SIZE, DATA.IMAGE_CHANNELS and MODEL.PATCH_SIZE have to be the teacher's"
        )
    return student


def encoder_macs(encoder: ViTEncoder, mask_ratio: float) -> int:
    """Count the multiply-accumulates of an encoder on one image's visible patches."""
    size = ModelSize(
        embed_dim=encoder.embed_dim,
        depth=len(encoder.blocks),
        patch_size=encoder.patch_size,
        img_size=encoder.img_size,
        in_chans=encoder.in_chans,
    )
    return mae_macs(size, mask_ratio).encoder


def distill_loss(
    teacher: Teacher, config: Config, num_images: int, cut: Pixels, model: nn.Layer, batch: Samples, epoch: int
) -> tuple[Tensor, dict[str, float]]:
    """Score one batch of images: the pixels' loss, plus TRAIN.ATTENTION times the distance of the attention maps.

    Args:
        num_images, cut: see `pretrain_loss`.
    """
    ratio, predicted = config.MODEL.MASK_RATIO, predicted_of(config)
    pixels, masking = masked_batch(config, num_images, cut, batch, epoch)
    maps = teacher.maps(pixels, ratio, **masking)
    loss, distance, _ = model(pixels, ratio, maps=maps, **masking, predicted=predicted, return_pred=False)
    figures = {"pixel_loss": float(loss), "attention_distance": float(distance)}
    return loss + config.TRAIN.ATTENTION * distance, figures
