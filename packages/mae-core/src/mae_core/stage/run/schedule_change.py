"""A resumed run that shall train longer, or less long: the schedule's new shape, in a line."""

from mae_core.errors import ConfigError
from mae_core.process import log
from mae_core.stage.config.node import Config, flatten
from mae_core.stage.config.to_arguments import schedule_of
from mae_core.training.engine import Trainer
from mae_core.weights.checkpoint_state import State

EPOCHS = "TRAIN.NUM_EPOCHS"


def note_schedule(trainer: Trainer, state: State) -> None:
    """Log how the learning rate goes on where the number of epochs is another than the resumed run's.

    Raises:
        ConfigError: the run is past its new end.
    """
    before, now = (flatten(dict(config)).get(EPOCHS) for config in (state.config, trainer.config))
    if before == now or before is None:
        return
    epoch = state.step / trainer.plan.steps_per_epoch
    if state.step > trainer.plan.total_steps:
        raise ConfigError(f"{EPOCHS}={now} is behind the resumed checkpoint, which is of epoch {epoch:g}; use more")
    old = schedule_of(Config(dict(state.config)), trainer.plan)(epoch)
    log.LOGGER.info(
        f"{EPOCHS} was {before}, is {now}: the cosine now falls until epoch {now}; at epoch {epoch:g}, where this run"
        f" goes on, the learning rate steps from {old:.2e} to {trainer.lr_at(epoch):.2e}"
    )
