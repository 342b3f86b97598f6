"""`python -m mae_probe`: the same as `mae-probe`."""

import sys

from mae_probe.cli import main

if __name__ == "__main__":
    sys.exit(main())
