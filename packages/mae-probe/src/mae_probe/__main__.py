"""The entry of `mae-probe` and `python -m mae_probe`: says what to install where Paddle is missing."""

import sys


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        from mae_probe.cli import main as run
    except ImportError as error:  # raised by mae_core, with the install commands
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
