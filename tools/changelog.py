"""The changelog of a package: what is unreleased, and the step from there to a dated section."""

import re

from workspace import WorkspaceError

UNRELEASED = re.compile(r"^## Unreleased[ \t]*\n(?P<lines>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def unreleased(text: str) -> str:
    """Return the lines under `## Unreleased`; empty where there are none or the heading is missing."""
    found = UNRELEASED.search(text)
    return found["lines"].strip() if found else ""


def release_notes(text: str, version: str) -> str:
    """Return what a release of that version tells: an undated section `## VERSION`, if any, and what is unreleased."""
    begun = _undated(version).search(text)
    return "\n\n".join(part for part in (begun[1].strip() if begun else "", unreleased(text)) if part)


def with_release(text: str, version: str, date: str) -> str:
    """Move the notes of a release under a heading of version and date; an empty `## Unreleased` stays above it.

    A section of that version without a date was written before any release: it becomes part of this one.

    Raises:
        WorkspaceError: Nothing is unreleased.
    """
    lines = release_notes(text, version)
    if not lines or not UNRELEASED.search(text):
        raise WorkspaceError("nothing stands under '## Unreleased' in the changelog; write there what changed")
    section = f"## Unreleased\n\n## {version} ({date})\n\n{lines}\n\n"
    rest = _undated(version).sub("", text, count=1)
    return UNRELEASED.sub(lambda found: section, rest, count=1).rstrip("\n") + "\n"


def _undated(version: str) -> re.Pattern[str]:
    return re.compile(rf"^## {re.escape(version)}[ \t]*\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
