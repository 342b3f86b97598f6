"""What a dry run says of a plan that suits the images or the machine badly: a line, or nothing."""

import shlex
from collections.abc import Iterator

from mae_core.errors import UserError
from mae_core.ops.patches import pair
from mae_core.stage.config.node import Config
from mae_core.training.engine import Trainer
from mae_data.errors import DataError
from mae_data.sources.source import Source
from mae_pretrain.advice.images import Look, look_at
from mae_pretrain.advice.length import spoken_time
from mae_pretrain.advice.rules import FEW_STEPS

_LONG = 3 * 86400.0  # seconds
# By the paper's rule small batches had 7.5e-5 and 1.9e-5, and learnt little; what was measured to be good is 1e-3.
_LOW_RATE = 1e-4
_FEW_BATCHES = 4  # of an epoch


def hint(config: Config, images: Source, trainer: Trainer, seconds: float) -> Iterator[str]:
    """Yield one line where `-cfg auto` would plan otherwise, none where the plan is sensible.

    Args:
        images: those of training.
        trainer: of the planned run.
        seconds: that its training takes.
    """
    d = config.DATA
    try:
        limits = None if d.VALUE_RANGE == 255 else d.VALUE_RANGE
        look = look_at(images, value_range=limits, bands=d.BANDS, nodata=d.NODATA)
    except (UserError, DataError):  # the run itself says what is wrong, or nothing is known of such images
        return
    reasons = list(_reasons(config, look, trainer, seconds))
    if not reasons:
        return
    command = shlex.join(["mae-pretrain", "-cfg", "auto", "--budget", "2h", "-data_path", d.DATA_PATH, "--dry-run"])
    yield f"hint: {'; '.join(reasons)}. What suits images and machine, in a time that you choose: {command}"


def _reasons(config: Config, look: Look, trainer: Trainer, seconds: float) -> Iterator[str]:
    d, plan = config.DATA, trainer.plan
    if seconds > _LONG:
        yield f"training takes {spoken_time(seconds)} on this machine"
    if 2 * look.side <= min(pair(d.IMAGE_SIZE)):
        yield f"the images have {look.side} pixels, DATA.IMAGE_SIZE is {d.IMAGE_SIZE}"
    is_picture, for_pictures = look.mean is None, d.IMAGE_CHANNELS in (1, 3) and d.VALUE_RANGE == 255
    if is_picture != for_pictures or not (is_picture or look.channels == d.IMAGE_CHANNELS):
        yield (
            f"the images have {look.channels} channels of a range of {look.value_range}, the config is for"
            f" {d.IMAGE_CHANNELS} of {d.VALUE_RANGE}"
        )
    if (rate := trainer.lr_at(config.TRAIN.WARMUP_EPOCHS)) < _LOW_RATE:
        yield f"a learning rate of {rate:.2g} is low"
    if plan.steps_per_epoch < _FEW_BATCHES and plan.total_steps < FEW_STEPS:
        yield f"a batch of {plan.global_batch} images leaves {plan.total_steps} steps"
