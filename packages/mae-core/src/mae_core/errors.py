"""Errors a user can mend. `exit_code` is what a console script exits with."""


class UserError(Exception):
    """Wrong input: the message names what was received, what is allowed and what to do."""

    exit_code = 2


class ConfigError(UserError):
    """A config file, flag or `KEY VALUE` pair cannot be used."""


class PaddleMissingError(UserError, ImportError):
    """No Paddle is installed."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or of another run."""

    exit_code = 4


class NonFiniteError(UserError):
    """The loss or the gradients became NaN or infinite; nothing was saved after that."""

    exit_code = 5


class Stopped(Exception):
    """A signal ended the run after its state was saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
