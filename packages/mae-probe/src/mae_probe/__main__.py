"""`mae-probe` and `python -m mae_probe`; Ctrl-C while these modules are imported is one line, as it is later."""

import sys


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        from mae_probe import cli

        return cli.main()
    except KeyboardInterrupt:
        print("interrupted by Ctrl-C", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
