"""The command `mae-finetune`."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from mae_finetune import __version__

STATE = f"release {__version__} contains no fine-tuning yet"
INSTEAD = "pre-training exists: see `mae-pretrain --help`"


def main(argv: Sequence[str] | None = None) -> int:
    """Answer --help and --version; refuse anything else.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        2, since nothing that can be asked for is there.
    """
    parser = argparse.ArgumentParser(
        prog="mae-finetune",
        description=f"Fine-tuning of masked autoencoders: {STATE}; {INSTEAD}.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__} (contains no training)")
    asked = parser.parse_known_args(argv)[1]
    request = f"asked for {shlex.join(asked)!r}, but " if asked else ""
    print(f"mae-finetune: {request}{STATE}; {INSTEAD}", file=sys.stderr)
    return 2
