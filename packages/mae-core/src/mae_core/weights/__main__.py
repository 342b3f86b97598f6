"""`python -m mae_core.weights`: the same as `mae-core`."""

import sys

from mae_core.weights.cli import main

if __name__ == "__main__":
    sys.exit(main())
