"""Markdown of the repository as markdown of the site: links between files become links between pages."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from workspace import ROOT, WorkspaceError

_FENCE = re.compile(r"^(```.*?^```[ ]*$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_INCLUDE = re.compile(r"^<!-- include: (\S+?)#(\S+) -->$", re.MULTILINE)


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change a page's text but for its fenced blocks."""
    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else change(part) for part in parts)


def rewrite_links(text: str, source: Path, path: str, paths: Mapping[Path, str]) -> str:
    """Point relative links of a file at the pages of the site.

    Args:
        text: the file, or a part of it.
        source: the file that the links start from.
        path: where on the site the text goes.
        paths: for each file of the repository, its path on the site.

    Raises:
        WorkspaceError: a link names a file that is not there, or that is on no page.
    """

    def change(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        file = (source.parent / target).resolve()
        file = file / "README.md" if file.is_dir() else file
        if file not in paths:
            raise WorkspaceError(f"{source.relative_to(ROOT)}: {match[2]} is no page of the site, and no file of one")
        found = os.path.relpath(paths[file], os.path.dirname(path) or ".")
        return f"{match[1]}{found}{'#' + anchor if anchor else ''}{match[3]}"

    return outside_code(text, lambda part: _LINK.sub(change, part))


def linked_files(text: str, source: Path) -> list[Path]:
    """List the files that a page links to or shows."""
    parts = [part for part in _FENCE.split(text) if not part.startswith("```")]
    found = [match[2] for part in parts for match in _LINK.finditer(part)]
    targets = [target.partition("#")[0] for target in found if not re.match(r"[a-z]+:|#", target)]
    return [file for target in targets if (file := (source.parent / target).resolve()).is_file()]


def section(text: str, anchor: str) -> str:
    """Return what stands below a heading, up to the next of its level; subheadings go along.

    Raises:
        WorkspaceError: there is no such heading.
    """
    lines, level, kept, fenced = text.splitlines(), 0, [], False
    for line in lines:
        fenced ^= line.startswith("```")
        heading = None if fenced else re.match(r"(#+) (.+)$", line)
        if level and heading and len(heading[1]) <= level:
            break
        if level:
            kept.append(line)
        elif heading and _slug(heading[2]) == anchor:
            level = len(heading[1])
    if not level:
        raise WorkspaceError(f"there is no heading #{anchor}")
    return "\n".join(kept).strip()


def _slug(heading: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")


def include_sections(text: str, path: str, paths: Mapping[Path, str]) -> str:
    """Put sections of other files in the place of `<!-- include: FILE#heading -->`, which names it from the root."""

    def change(match: re.Match[str]) -> str:
        file = ROOT / match[1]
        return rewrite_links(section(file.read_text(encoding="utf-8"), match[2]), file, path, paths)

    return _INCLUDE.sub(change, text)
