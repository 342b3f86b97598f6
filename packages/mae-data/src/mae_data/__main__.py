"""The entry of `python -m mae_data`."""

import sys

from mae_data.cli import main

if __name__ == "__main__":
    sys.exit(main())
