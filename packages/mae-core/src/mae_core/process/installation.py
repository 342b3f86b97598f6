"""The command that installs an extra of a package, from where the package was installed."""

import json
import os
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname


def pip_install(package: str, extra: str) -> str:
    """Return `pip install ...` for an extra, of the folder or the repository that the package is from, if any.

    Args:
        package: name of the distribution, such as `mae-core`.
    """
    return f"pip install {_source(package, f'[{extra}]', _origin(package))}"


def _origin(package: str) -> dict[str, Any]:
    """Return what pip recorded of a package that is from no index; empty for others."""
    try:
        found = json.loads(metadata.distribution(package).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _source(package: str, extra: str, origin: dict[str, Any]) -> str:
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        below = f"#subdirectory={origin['subdirectory']}" if "subdirectory" in origin else ""
        return f'"{package}{extra} @ {origin["vcs_info"].get("vcs", "git")}+{url}{below}"'
    path = url2pathname(urlsplit(url).path) if url.startswith("file://") else ""
    if not os.path.exists(path):
        return f'"{package}{extra}"'
    return f'{"-e " if origin.get("dir_info", {}).get("editable") else ""}"{path}{extra}"'
