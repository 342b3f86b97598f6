"""Files that are written whole or not at all."""

import os
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # a link that others laid there is not followed
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name outlives a power cut, too
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
