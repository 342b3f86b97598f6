"""The changelog of a package: what is unreleased, and the step from there to a dated section."""

import re

from workspace import WorkspaceError

UNRELEASED = re.compile(r"^## Unreleased[ \t]*\n(?P<lines>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def unreleased(text: str) -> str:
    """Return the lines under `## Unreleased`; empty where there are none or the heading is missing."""
    found = UNRELEASED.search(text)
    return found["lines"].strip() if found else ""


def with_release(text: str, version: str, date: str) -> str:
    """Move the unreleased lines under a heading of version and date; an empty `## Unreleased` stays above it.

    Raises:
        WorkspaceError: Nothing is unreleased.
    """
    lines = unreleased(text)
    if not lines:
        raise WorkspaceError("nothing stands under '## Unreleased' in the changelog; write there what changed")
    section = f"## Unreleased\n\n## {version} ({date})\n\n{lines}\n\n"
    return UNRELEASED.sub(lambda found: section, text, count=1).rstrip("\n") + "\n"
