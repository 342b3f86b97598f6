"""Where compiled operators lie: in the package, or, built by a user who cannot write there, in that user's cache."""

import os
from pathlib import Path
from stat import S_IWGRP, S_IWOTH

from mae_core import __version__
from mae_core.libraries.compilation import library_name

PACKAGED = Path(__file__).parents[1] / "ops"


def cache_folder() -> Path | None:
    """Name the folder of this version in the user's cache; None for a user without one."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return base / "mae-core" / __version__ if base.is_absolute() else None


def find(version: str, cuda: str) -> Path | None:
    """Find the library for a Paddle: what the user built comes before what was installed."""
    name = library_name(version, cuda)
    cache = cache_folder()
    if cache and (cache / name).exists() and not distrust(cache / name):
        return cache / name
    return PACKAGED / name if (PACKAGED / name).is_file() else None


def distrust(library: Path) -> str:
    """Return why a cached library may not be loaded, which would run what is in it; empty where nothing is wrong."""
    for path in (library, library.parent, library.parent.parent):
        facts = path.lstat()  # a link may be written by all
        if facts.st_uid != os.geteuid():
            return f"{path} belongs to another user"
        if facts.st_mode & (S_IWGRP | S_IWOTH):
            return f"{path} may be written by others"
    return ""


def others(version: str, cuda: str) -> list[str]:
    """List libraries that were built for another Paddle."""
    return sorted(path.name for path in PACKAGED.glob("_C-*.so") if path.name != library_name(version, cuda))
