"""The cache of indexes: an index is made once for each state of its source, and mapped from then on."""

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mae_data.errors import DataError
from mae_data.files import write_whole
from mae_data.sources.index_file import Index, open_index

# A file that changed within this time of being indexed could have changed again unseen: its time is too coarse.
SETTLED_NS = 2_000_000_000
FOLDER_VARIABLE = "MAE_DATA_CACHE"

log = logging.getLogger(__name__)
Fill = Callable[[BinaryIO], None]
Check = Callable[[Index, bool], bool]


def index_cache_folder() -> Path:
    """Return the folder of cached indexes: $MAE_DATA_CACHE, else `mae-data` below the user's cache folder."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mae-data"
    except RuntimeError:  # no home
        return Path(tempfile.gettempdir()) / f"mae-data-{os.getuid() if hasattr(os, 'getuid') else 0}"


def cached_index(name: str, state: str, fill: Fill, is_current: Check) -> Index:
    """Return the index of a source, from the cache where it was made of the same content.

    Where the cache cannot be written, the index is made in a file without a name, which goes with this process.

    Args:
        name: what the source is, a path or an address, and what of it is indexed.
        state: changes whenever the source does, as far as can be seen at little cost: sizes, times.
        fill: writes the index into an open file.
        is_current: called with an index that was found, and whether it was made for this very state; returns whether
            it still holds. An error that it raises means that the index is damaged.
    """
    folder = index_cache_folder()
    stem = f"{re.sub(r'[^A-Za-z0-9._-]', '_', os.path.basename(name.rstrip('/')))[:48]}-{_short(name)}"
    path = folder / f"{stem}-{_short(state)}.index"
    if found := _find(folder, stem, path, is_current):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, fill)
        os.chmod(path, 0o600)  # a file that others may write is not used the next time
        return open_index(path)
    except OSError as error:
        log.warning(
            "the index cannot be cached in %s (%s); set %s to a folder that you may write",
            folder,
            error.strerror,
            FOLDER_VARIABLE,
        )
    with tempfile.TemporaryDirectory() as unnamed:  # the mapped file lives on without its name
        path = Path(unnamed) / "index"
        write_whole(path, fill)
        return open_index(path)


def _find(folder: Path, stem: str, path: Path, is_current: Check) -> Index | None:
    for candidate in sorted(folder.glob(f"{stem}-*.index"), key=lambda file: file != path):
        try:
            index = open_index(candidate, own=True)
            if is_current(index, candidate == path):
                if candidate != path:
                    os.replace(candidate, path)
                return index
        except OSError:
            continue  # another process replaced it, or what is indexed went: it is made anew
        except (DataError, LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            log.warning("a cached index cannot be used and is made anew (%s: %s)", candidate, _reason(error))
            with suppress(OSError):
                candidate.unlink()
    return None


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition(": ")[2][:120] or str(error)[:120]


def _short(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def file_state(path: str | bytes | os.PathLike[str]) -> str:
    """Describe a file's state by its size, inode and times."""
    found = os.stat(path)
    return f"{found.st_size} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"


def hash_states(paths: Iterable[str | bytes | os.PathLike[str]]) -> str:
    """Return a hash of the states of files, in their order; a file that cannot be found has the state "none"."""
    whole = hashlib.sha256()
    for path in paths:
        try:
            state = file_state(path)
        except OSError:
            state = "none"
        whole.update(f"{state}\n".encode())
    return whole.hexdigest()


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content."""
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            whole.update(chunk)
    return whole.hexdigest()
