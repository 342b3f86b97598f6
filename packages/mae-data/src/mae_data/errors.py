"""Errors that are the user's to fix; each prints as one clear message without a traceback."""


class DataError(Exception):
    """Data on disk is missing, malformed or unreadable; the message says which file and what to do."""

    exit_code = 3


class ImageError(DataError):
    """One image cannot be used.

    Attributes:
        reason: what is wrong, without saying where.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.reason}"


class StoreError(DataError):
    """The place that holds the images does not answer: no image can be read, so none is skipped."""


class InputError(Exception):
    """A command was called with arguments that cannot work."""

    exit_code = 2
