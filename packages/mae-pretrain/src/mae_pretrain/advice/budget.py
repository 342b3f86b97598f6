"""`--budget`: a length of time, as it is typed. Help reads it without Paddle."""

import re
from argparse import ArgumentTypeError

from mae_core.errors import UserError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """Read a length of time, such as `90s`, `30m`, `1.5h` or `1d`.

    Raises:
        ArgumentTypeError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not seconds:
        raise ArgumentTypeError(f"{text!r} is no length of time; give a number and s, m, h or d, such as 30m or 2h")
    return seconds


def stated_seconds(text: str) -> float:
    """Read a length of time that a call in Python states.

    Raises:
        UserError: it is none.
    """
    try:
        return seconds_of(text)
    except ArgumentTypeError as error:
        raise UserError(f"budget {error}") from None
