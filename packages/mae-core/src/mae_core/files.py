"""Files and folders that are either whole or not there, and one line where the disk refuses."""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from mae_core.errors import UserError


def fsync_path(path: Path) -> None:
    """Force the contents of a file or folder to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, fsync it and rename it into place."""
    replace_atomic(path, lambda temporary: temporary.write_bytes(data))


def replace_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, fsync it and rename it into place."""
    temporary = temporary_path(path)
    try:
        make_file(temporary)
        write(temporary)
        fsync_path(temporary)
        os.replace(temporary, path)
        fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def publish_folder(final: Path) -> Iterator[Path]:
    """Give an empty temporary folder that becomes `final` if nothing is raised, and is deleted otherwise.

    What is at `final` is replaced, and put back where that fails.

    Raises:
        OSError: the disk refused; `final` is as it was.
    """
    temporary, replaced = temporary_path(final), temporary_path(final, "old.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for path in (*temporary.iterdir(), temporary):
            fsync_path(path)
        if final.exists():
            os.replace(final, replaced)
        os.replace(temporary, final)
        fsync_path(final.parent)
    finally:
        if replaced.exists() and not final.exists():
            os.replace(replaced, final)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def ascii_name(folder: Path) -> Iterator[Path]:
    """Give a name of a folder that compiled code takes in any locale; Paddle's wants UTF-8 and no escapes."""
    if str(folder).isascii():
        yield folder
        return
    with TemporaryDirectory(prefix="mae-") as place:
        link = Path(place) / "folder"
        link.symlink_to(folder.resolve(), target_is_directory=True)
        yield link


def discard_folder(folder: Path) -> None:
    """Delete a folder; half-deleted, it must not look like one that is whole."""
    doomed = temporary_path(folder, "old.tmp")
    os.replace(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def temporary_path(path: Path, suffix: str = "tmp") -> Path:
    """Name the place beside `path` where this process prepares it."""
    return path.with_name(f".{path.name}.{os.getpid()}.{suffix}")


def make_file(path: Path) -> None:
    """Make an empty file; what is there goes, and a link that others laid there is not followed."""
    path.unlink(missing_ok=True)
    path.touch(exist_ok=False)


def sha256(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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


def prepare_output(path: Path, advice: str = "choose another with -output") -> None:
    """Refuse, before the work, a file that cannot be written.

    Raises:
        UserError: it is a folder, or its own folder cannot be made or written in.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file; {advice}")
    with refuse_unwritable(path, advice):
        try_folder(path.parent)


def write_output(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, and its folder where that is missing; OSError where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)


def png_bytes(save: Callable[..., object]) -> bytes:
    """Return a picture as PNG; `save(file, format="png")` draws it."""
    png = io.BytesIO()
    save(png, format="png")
    return png.getvalue()
