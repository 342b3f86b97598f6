"""`python -m mae_pretrain`: the same as `mae-pretrain`."""

import sys

from mae_pretrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
