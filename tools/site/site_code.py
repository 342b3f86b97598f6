"""Fenced blocks as the site shows them: coloured, and with comments above the lines that they would make too long."""

import re
from collections.abc import Iterator

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^(\s*)(\S.*?)\s{2,}# (.+)$")
_WIDEST = 88  # characters that a page has room for at 1280 pixels
_SHELL = ("", "sh", "shell", "bash", "console")


def code_blocks(text: str) -> str:
    """Name the language of a page's blocks, and shorten their lines."""
    return _BLOCK.sub(lambda block: _shown(block[1], block[2]), text)


def _shown(kind: str, code: str) -> str:
    if kind in _SHELL:
        kind = "console" if re.search(r"^\$ ", code, re.MULTILINE) else "bash"
    if kind in ("bash", "python") and any(len(line) > _WIDEST for line in code.splitlines()):
        code = "".join(f"{line}\n" for line in _with_comments_above(code.splitlines()))
    return f"```{kind}\n{code}```"


def _with_comments_above(lines: list[str]) -> Iterator[str]:
    """Move what is said behind a command to above its first line."""
    command: list[str] = []
    for line in lines:
        found = _COMMENT.match(line)
        command.append(f"{found[1]}{found[2]}" if found else line)
        if found:
            indent = command[0][: len(command[0]) - len(command[0].lstrip())]
            yield f"{indent}# {found[3]}"
        if not line.endswith("\\"):
            yield from command
            command = []
    yield from command
