"""What a step costs before any is done: from the model's sizes (`models.cost`), roughly."""

import os
from dataclasses import dataclass

from mae_core.models.cost import ModelSize, mae_macs, mae_parameters, vit_macs, vit_parameters
from mae_core.process.runtime import available_cores
from mae_core.stage.config.node import Config

# Multiply-accumulates a second that training reaches, about; machines differ by the factor that is printed with them.
# Measured on a core of an AMD EPYC: 4.0e10 to 4.5e10 (192 to 768 wide), 2.5e10 (128 wide).
_SPEED = {"cpu": 3e10, "gpu": 4e13}  # of a core, of a card
TIME_FACTOR, MEMORY_FACTOR = 4, 2
_ROOM = 300 * 2**20  # bytes of the process itself
_WORDS_PER_TOKEN = 20  # numbers that a block keeps for the backward pass, over its width; attention is kept apart


@dataclass(frozen=True)
class Estimate:
    """A step of one rank: seconds of computing, and the bytes that training holds at most."""

    seconds: float
    memory: float
    parameters: int
    macs: int


def estimate(config: Config, device: str) -> Estimate:
    """Estimate a step; right within TIME_FACTOR and MEMORY_FACTOR either way on common machines.

    Args:
        device: `cpu` or `gpu`.
    """
    size, m = _size(config), config.MODEL
    images = config.DATA.BATCH_SIZE
    if "DECODER" in m:
        macs, parameters = mae_macs(size, m.MASK_RATIO).total, mae_parameters(size).total
        kept = round(size.num_patches * (1 - m.MASK_RATIO))
        activations = _activations(size.embed_dim, size.depth, 1 + kept, m.ENCODER.NUM_HEADS)
        decoder = m.DECODER
        activations += _activations(decoder.EMBED_DIM, decoder.DEPTH, 1 + size.num_patches, decoder.NUM_HEADS)
    else:
        macs, parameters = vit_macs(size), vit_parameters(size)
        activations = _activations(size.embed_dim, size.depth, 1 + size.num_patches, m.ENCODER.NUM_HEADS)
    frozen = m.TYPE == "LINEARPROBE"
    passes = 1 if frozen else 3  # forward, and twice as much backward
    speed = _SPEED[device] * (_threads() if device == "cpu" else 1)
    seconds = passes * macs * images * config.TRAIN.ACCUM_ITER / speed
    memory = _ROOM + parameters * (4 if frozen else 16) + images * activations * 4 / (m.ENCODER.DEPTH if frozen else 1)
    return Estimate(seconds, memory, parameters, macs)


def _threads() -> int:
    """Return how many threads compute here; OMP_NUM_THREADS may be a list, its first number counts."""
    return int((os.environ.get("OMP_NUM_THREADS") or str(available_cores())).partition(",")[0])


def _activations(width: int, depth: int, tokens: int, heads: int) -> float:
    return depth * tokens * (_WORDS_PER_TOKEN * width + 2 * heads * tokens)


def _size(config: Config) -> ModelSize:
    m, d = config.MODEL, config.DATA
    side = d.IMAGE_SIZE if isinstance(d.IMAGE_SIZE, int) else tuple(d.IMAGE_SIZE)
    decoder = {"decoder_embed_dim": m.DECODER.EMBED_DIM, "decoder_depth": m.DECODER.DEPTH} if "DECODER" in m else {}
    return ModelSize(
        embed_dim=m.ENCODER.EMBED_DIM,
        depth=m.ENCODER.DEPTH,
        patch_size=m.PATCH_SIZE,
        img_size=side,
        in_chans=d.IMAGE_CHANNELS,
        mlp_ratio=m.MLP_RATIO,
        num_classes=m.get("NUM_CLASSES", 0),
        **decoder,
    )
