"""What follows from the images: a packaged recipe, image size, batch, learning rate and number of epochs.

The rules are no theory: they repeat what was measured, which stands beside each, and say where nothing was.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from mae_core.stage.config.node import Config, Values
from mae_core.training.optim import scaled_lr
from mae_pretrain.advice.images import Look
from mae_pretrain.config import RECIPE

SIZE, BATCH, ACCUM = "DATA.IMAGE_SIZE", "DATA.BATCH_SIZE", "TRAIN.ACCUM_ITER"
EPOCHS, WARMUP, SAVES = "TRAIN.NUM_EPOCHS", "TRAIN.WARMUP_EPOCHS", "SAVE_FREQ"
RATE, RATE_OF = "TRAIN.BASE_LR", "TRAIN.LINEAR_SCALED_LR"

# Digits (tools/learning_curve.py, 3 seeds, kNN, %): untrained 75.3, after 210 steps 73.3, after 840 96.4, after 1,680
# and 3,360 98.7. Tiles of photographs (vit_tiny_64_pretrain): untrained 67.0, after 920 76.1.
FEW_STEPS, ENOUGH_STEPS = 840, 3_360
# Epochs by the number of images, at most: those of the longest runs whose features were scored. Digits, 80 of 1,347
# images; letters, 40 of 17,212; Fashion-MNIST, 32 of 60,000 (whitened grid2 90.0, after 8 epochs 88.4). Where one
# begins and the other ends, no run says.
_LENGTHS = ((5_000, 80), (30_000, 40), (math.inf, 32))
_LEAST_SIDE = 24  # pixels; smaller images are enlarged, as the digits' scans of 8 were to 32
_LARGE_SIDE, _WORKERS = 256, 2  # pixels; reading larger images takes as long as a step of a small model
_STEPS_PER_EPOCH = 8  # at least, by smaller batches; no run says how small


@dataclass(frozen=True)
class Known:
    """A packaged recipe, and what is known of it.

    Args:
        recipe: its name.
        sides: the shorter sides of the images that it suits, in pixels.
        size: the largest DATA.IMAGE_SIZE.
        rate: the learning rate at its batch, however few images that has; None: by the recipe's own rule.
        runs: where that is from.
        images: fewest that it is for.
        on_gpu: whether it is for GPUs alone.
        global_batch: images of a step over all ranks; None: the recipe's batch.
    """

    recipe: str
    sides: tuple[float, float]
    size: int
    rate: float | None
    runs: str
    images: int = 0
    on_gpu: bool = False
    global_batch: int | None = None

    def suits(self, look: Look, on_gpu: bool) -> bool:
        """Return whether images and machine are such as it is for."""
        low, high = self.sides
        return low <= look.side <= high and self.images <= look.images and on_gpu >= self.on_gpu


# The first that suits, and that does ENOUGH_STEPS in the time that there is, is taken; kNN against random weights, %.
#
# | data                          | recipe               | batch | rate | gain                                   |
# |-------------------------------|----------------------|-------|------|----------------------------------------|
# | Fashion-MNIST, 60,000 of 28   | vit_tiny_28_pretrain | 32    | 1e-3 | 88.4 against 86.5, whitened grid2      |
# | letters, 17,212 of 32         | the same at 32       | 32    | 1e-3 | 65.2 against 45.6, whitened grid2      |
# | digits, 1,347 of 32           | the same at 32       | 32    | 1e-3 | 98.7 against 75.3                      |
# | digits, 64 wide, 3 blocks     | vit_digits_32        | 16    | 2e-3 | 97.8 against 79.1                      |
# | photographs, 2,952 tiles      | vit_tiny_64_pretrain | 32    | 1e-3 | 76.1 against 67.0, whitened mean token |
_RECIPES = (
    Known(
        "vit_base_patch16_224_pretrain",
        (224, math.inf),
        224,
        rate=None,
        runs="the paper's, Table 8; no run here",
        images=300_000,
        on_gpu=True,
        global_batch=4096,
    ),
    Known(
        "vit_small_96_pretrain",
        (96, math.inf),
        96,
        rate=None,
        runs="no run supports size, batch or rate",
        images=10_000,
        on_gpu=True,
    ),
    Known(
        "vit_tiny_96_pretrain",
        (96, math.inf),
        96,
        rate=1.5e-4,
        runs="no run was scored; the learning rate is the recipe's",
    ),
    Known(
        "vit_tiny_64_pretrain",
        (41, math.inf),
        64,
        rate=1e-3,
        runs="measured on tiles of photographs, at a learning rate of 1e-3 and a batch of 32",
    ),
    Known(
        "vit_tiny_28_pretrain",
        (0, 40),
        40,
        rate=1e-3,
        runs="measured on Fashion-MNIST, letters and digits, at a learning rate of 1e-3 and a batch of 32; add"
        " DATA.HFLIP 0.0 where pictures must not be mirrored, as letters",
    ),
)


def candidates(look: Look, on_gpu: bool) -> list[Known]:
    """Return the recipes that suit images and machine, the largest first."""
    return [known for known in _RECIPES if known.suits(look, on_gpu)]


def values_for(known: Known, look: Look, ranks: int, stated: Config, stated_keys: Collection[str]) -> Values:
    """Return what the recipe needs changed for these images, by dotted key, but for its length.

    Args:
        ranks: processes that train together.
        stated: a config with what the user states.
        stated_keys: the keys of these, which are left alone.
    """
    usual = RECIPE.load(known.recipe)
    patch = stated.MODEL.PATCH_SIZE if "MODEL.PATCH_SIZE" in stated_keys else usual.MODEL.PATCH_SIZE
    side = usual.DATA.IMAGE_SIZE if look.side < _LEAST_SIDE else min(look.side, known.size)
    accum = stated.TRAIN.ACCUM_ITER if ACCUM in stated_keys else usual.TRAIN.ACCUM_ITER
    wanted: Values = {SIZE: max(side // patch, 2) * patch, "DATA.IMAGE_CHANNELS": look.channels}
    if look.mean is not None:
        wanted |= {"DATA.VALUE_RANGE": look.value_range, "DATA.IMAGENET_MEAN": look.mean, "DATA.IMAGENET_STD": look.std}
    batch = wanted[BATCH] = _batch(known.global_batch or usual.DATA.BATCH_SIZE, usual.DATA.BATCH_SIZE, look, ranks)
    if look.side > _LARGE_SIDE:
        wanted["DATA.NUM_WORKERS"] = max(usual.DATA.NUM_WORKERS, _WORKERS)
    if known.global_batch:
        wanted[ACCUM] = max(1, known.global_batch // (batch * ranks))
    if BATCH in stated_keys:
        batch = stated.DATA.BATCH_SIZE
    if EPOCHS in stated_keys:
        wanted[WARMUP] = usual.TRAIN.WARMUP_EPOCHS / usual.TRAIN.NUM_EPOCHS * stated.TRAIN.NUM_EPOCHS
    own = scaled_lr(usual.TRAIN.BASE_LR, batch * accum * ranks, usual.TRAIN.LINEAR_SCALED_LR)
    if known.rate and not math.isclose(own, known.rate, rel_tol=0.01) and not {RATE, RATE_OF} & set(stated_keys):
        wanted |= {RATE: known.rate, RATE_OF: None}
    return {key: value for key, value in wanted.items() if key not in stated_keys and value != _value(usual, key)}


def _batch(images: int, most: int, look: Look, ranks: int) -> int:
    """Return images per rank and forward pass: fewer where the list is short."""
    batch = max(1, min(most, images // ranks))
    while batch > 2 and batch * ranks * _STEPS_PER_EPOCH > look.images:
        batch //= 2
    return batch


def _value(config: Config, key: str) -> object:
    group, _, name = key.rpartition(".")
    return (config[group] if group else config)[name]


def words_of(values: Values) -> list[str]:
    """Return values as the `KEY VALUE` words of a command."""
    return [word for key, value in values.items() for word in (key, str(value))]


def usual_epochs(known: Known, images: int, steps_per_epoch: int) -> int:
    """Return the epochs of a run that nobody gave a length."""
    if known.global_batch:
        return int(RECIPE.load(known.recipe).TRAIN.NUM_EPOCHS)
    epochs = next(epochs for most, epochs in _LENGTHS if images <= most)
    return max(epochs, math.ceil(ENOUGH_STEPS / steps_per_epoch))
