"""PaddleViT's `main_multi_gpu_finetune.py`: forwards to `mae-finetune`, on all GPUs unless launched."""

import sys

from launch_ranks import launch_unless_launched

from mae_finetune.cli import main

if __name__ == "__main__":
    launch_unless_launched(__file__, sys.argv[1:])
    sys.exit(main())
