"""The PNG files that the commands draw: refused before the work where they cannot be written."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from mae_core.atomic import write_atomic
from mae_core.errors import UserError


def prepare_png(path: Path) -> None:
    """Make the folder of a picture and try to write in it.

    Raises:
        UserError: the picture cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a PNG file with -output")
    with _refusal(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path.parent).close()


def write_png(path: Path, save: Callable[..., Any]) -> None:
    """Write a picture, whole or not at all; `save(file, format="png")` draws it.

    Raises:
        UserError: it cannot be written.
    """
    png = io.BytesIO()
    save(png, format="png")
    with _refusal(path):
        write_atomic(path, png.getvalue())


@contextmanager
def _refusal(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another with -output") from None
