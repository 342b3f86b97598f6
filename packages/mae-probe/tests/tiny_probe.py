"""A tiny recipe, and the command line as a user starts it."""

import sys

SETTINGS = {
    "DATA.IMAGE_SIZE": 16,
    "DATA.NUM_WORKERS": 0,
    "MODEL.PATCH_SIZE": 4,
    "MODEL.NUM_CLASSES": 3,
    "MODEL.ENCODER.EMBED_DIM": 16,
    "MODEL.ENCODER.DEPTH": 2,
    "MODEL.ENCODER.NUM_HEADS": 2,
    "TRAIN.NUM_EPOCHS": 3,
    "TRAIN.WARMUP_EPOCHS": 1,
    "TRAIN.BASE_LR": 40.0,
    "REPORT_FREQ": 2,
}
TINY = [str(word) for pair in SETTINGS.items() for word in pair]


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "mae_probe", *map(str, args)]
