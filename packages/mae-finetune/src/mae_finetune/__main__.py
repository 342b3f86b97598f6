"""`mae-finetune` and `python -m mae_finetune`."""

import sys

from mae_core.process.runtime import start


def main() -> int:
    """Run the command line; return the exit code."""
    return start("mae_finetune.cli")


if __name__ == "__main__":
    sys.exit(main())
