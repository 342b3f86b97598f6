"""The entry of `mae-finetune` and `python -m mae_finetune`: says what to install where Paddle is missing."""

import sys


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        from mae_finetune.cli import main as run
    except ImportError as error:  # raised by mae_core, with the install commands
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
