"""`python -m mae_finetune`: the same as `mae-finetune`."""

import sys

from mae_finetune.cli import main

if __name__ == "__main__":
    sys.exit(main())
