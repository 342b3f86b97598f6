"""The entry of `mae-core` and `python -m mae_core.weights`."""

import sys

from mae_core.weights.cli import main

if __name__ == "__main__":
    sys.exit(main())
