"""`mae-data` and `python -m mae_data`; Ctrl-C while these modules are imported is one line, as it is later."""

import os
import sys


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        from mae_data import cli

        return cli.main()
    except KeyboardInterrupt:
        os.write(2, b"interrupted by Ctrl-C\n")
        os._exit(130)  # where an import of compiled code has seen it, Python itself would end by the signal


if __name__ == "__main__":
    sys.exit(main())
