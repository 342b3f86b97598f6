"""What commands write for people, below -output: refused in one line where it cannot be written."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from mae_core.atomic import write_atomic
from mae_core.errors import UserError


@contextmanager
def refuse_unwritable(path: Path, advice: str = "choose another with -output") -> Iterator[None]:
    """Turn what the disk refuses into UserError, naming `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); {advice}") from None


def try_folder(folder: Path) -> None:
    """Make a folder and try to write in it, before the work; OSError where that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=folder).close()


def write_output(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, and its folder where that is missing; OSError where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)


def png_bytes(save: Callable[..., Any]) -> bytes:
    """Return a picture as PNG; `save(file, format="png")` draws it."""
    png = io.BytesIO()
    save(png, format="png")
    return png.getvalue()
