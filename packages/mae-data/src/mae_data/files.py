"""Files that are written whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mae_data.errors import InputError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment the old or the new content is there.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        write_whole(path, lambda file: file.write(content))
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); check the folder and its permissions") from error


def write_whole(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file of any size, whole or not at all; once this returns, it outlives a power cut.

    Args:
        path: the file.
        fill: writes the content into an open file.

    Raises:
        OSError: the folder cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _file_mode())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # for the file's new name
    finally:
        os.close(folder)


def _file_mode() -> int:
    """Return the mode that the umask gives a new file; temporary files begin with 0600."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
