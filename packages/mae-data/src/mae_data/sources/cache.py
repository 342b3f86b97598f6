"""The cache of indexes: an index is made once for each state of its source, and mapped from then on."""

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from mae_data.errors import DataError
from mae_data.sources.index_file import Index, IndexWriter, open_index, write_index

# A file that changed within this time of being indexed could have changed again unseen: its time is too coarse.
SETTLED_NS = 2_000_000_000
FOLDER_VARIABLE = "MAE_DATA_CACHE"

log = logging.getLogger(__name__)
Fill = Callable[[IndexWriter], None]


def cache_folder() -> Path:
    """Return the folder of cached indexes: $MAE_DATA_CACHE, else `mae-data` below the user's cache folder."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mae-data"
    except RuntimeError:  # no home
        return Path(tempfile.gettempdir()) / f"mae-data-{os.getuid() if hasattr(os, 'getuid') else 0}"


def cached_index(name: str, state: str, fill: Fill, digest: Callable[[], str] | None = None) -> tuple[Index, str]:
    """Return the index of a source, from the cache where it was made for the same state.

    Where the cache cannot be written, the index is made in a file without a name, which goes with this process.

    Args:
        name: What the source is, a path or an address.
        state: Changes whenever the source does: sizes, times.
        fill: Writes the index.
        digest: Gives the hash of the source's content where its state cannot be trusted or differs; an index whose
            fact `sha256` equals it is taken.

    Returns:
        The index, and where it lies; "" for nowhere.
    """
    folder = cache_folder()
    stem = f"{re.sub(r'[^A-Za-z0-9._-]', '_', os.path.basename(name.rstrip('/')))[:48]}-{_short(name)}"
    path = folder / f"{stem}-{_short(state)}.index"
    if found := _find(folder, stem, path, digest):
        return found, str(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_index(path, fill)
        return open_index(path), str(path)
    except OSError as error:
        log.warning("no index is kept in %s (%s): set %s to a folder of yours", folder, error.strerror, FOLDER_VARIABLE)
        return _nameless(fill), ""


def _find(folder: Path, stem: str, path: Path, digest: Callable[[], str] | None) -> Index | None:
    try:
        if path.exists():
            return open_index(path)
        for older in sorted(folder.glob(f"{stem}-*.index")) if digest else []:
            index = open_index(older)
            if digest and index.facts.get("sha256") == digest():
                os.replace(older, path)
                return index
    except (DataError, OSError):
        return None  # damaged, or another process replaced it: it is made anew
    return None


def _nameless(fill: Fill) -> Index:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        write_index(path, fill)
        return open_index(path)


def _short(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def file_state(path: str | os.PathLike[str]) -> str:
    """Describe a file's state by its size, inode and times."""
    found = os.stat(path)
    return f"{found.st_size} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"
