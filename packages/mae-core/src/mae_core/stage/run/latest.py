"""`runs/latest`, a link to the run that began last."""

import os
from contextlib import suppress
from pathlib import Path

from mae_core.stage.config.node import Config

NAME = "latest"


def link_latest(folder: Path) -> bool:
    """Point `latest` beside the folder to it; return whether the file system took it."""
    temporary = folder.parent / f".latest.{os.getpid()}.tmp"
    with suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        os.replace(temporary, folder.parent / NAME)
        return True
    return False


def name_runs(config: Config) -> None:
    """Put the run's own folder in place of the link: the next run, perhaps this one, points it elsewhere."""
    for group, key in ((config.MODEL, "PRETRAINED"), (config.MODEL, "RESUME"), (config, "SAVE")):
        if path := group.get(key):
            group[key] = _behind_link(path)


def _behind_link(path: str) -> str:
    parts = Path(path).parts
    for place, part in enumerate(parts):
        if part == NAME and (link := Path(*parts[: place + 1])).is_symlink():
            return str(link.parent.joinpath(os.readlink(link), *parts[place + 1 :]))
    return path
