"""`--json FILE|-`: what a command has measured, for programs."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_core.files import refuse_unwritable, try_folder, write_output
from mae_core.process import distributed, log

_ADVICE = "choose another with --json"


def prepare_json(target: str | None) -> None:
    """Refuse, before the work, a file that cannot be written; keep standard output free where it is for JSON.

    Raises:
        UserError: the file's folder cannot be written.
    """
    if target == "-":
        log.use_stderr()
    elif target:
        with refuse_unwritable(Path(target), _ADVICE):
            try_folder(Path(target).parent)


def print_result(target: str | None, line: str) -> None:
    """Print a line of the command's result, beside standard output where that is for JSON."""
    print(line, file=sys.stderr if target == "-" else sys.stdout)


def write_json(target: str | None, scores: Mapping[str, Any]) -> None:
    """Write scores where the flag names a file, on the main rank; nothing where it was not given."""
    if target is None or not distributed.is_main():
        return
    text = json.dumps(dict(scores), indent=1) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    with refuse_unwritable(Path(target), _ADVICE):
        write_output(Path(target), text.encode())
