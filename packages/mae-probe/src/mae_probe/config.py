"""The linear-probing recipe: every key with its default (Base, Table 10 and the official settings), and what must hold.

What the plain values mean stands in `mae_core.stage.config.shared_keys`, and `mae-probe --help-config` prints it
beside them. Keys and meanings are those of PaddleViT's MAE configs, so its linear-probing YAML files load as they are.
"""

from mae_core.stage.config.checks import require, require_classifier, require_common
from mae_core.stage.config.keys import Key, keys_of
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import Recipe
from mae_core.stage.config.shared_keys import SHARED
from mae_data.sources.list_file import count_classes

# The names in mae_probe.heads.HEADS and mae_probe.optimizer.BUILDERS, which need Paddle.
HEADS = ("linear", "attentive")
OPTIMIZERS = ("LARS",)

KEYS = keys_of(
    {
        "DATA": {
            "DATA_PATH": "/dataset/imagenet/",
            "TRAIN_LIST": "train_list.txt",
            "VAL_LIST": "val_list.txt",
            "ALLOW_OUTSIDE": False,
            "BATCH_SIZE": 512,
            "BATCH_SIZE_EVAL": None,
            "IMAGE_SIZE": 224,
            "IMAGE_CHANNELS": 3,
            "BANDS": None,
            "EXIF": True,
            "NODATA": None,
            "VALUE_RANGE": 255,
            "IMAGENET_MEAN": [0.485, 0.456, 0.406],
            "IMAGENET_STD": [0.229, 0.224, 0.225],
            "CROP_PCT": None,
            "CROP_SCALE": [0.08, 1.0],
            "HFLIP": 0.5,
            "VFLIP": 0.0,
            "ROTATE90": False,
            "NUM_WORKERS": 2,
            "TIMEOUT": 300.0,
            "DECODER": "exact",
            "ON_ERROR": "skip",
            "MAX_BAD": 100,
        },
        "MODEL": {
            "TYPE": Key("LINEARPROBE", "the stage; no other is taken", choices=("LINEARPROBE",)),
            "NAME": None,
            "PRETRAINED": Key(None, "weights whose features are probed, or a probe to evaluate"),
            "RANDOM_INIT": Key(
                False, "probe random weights, whatever PRETRAINED names: the baseline that training must beat"
            ),
            "CHANNELS_FROM": None,
            "RESUME": None,
            "NUM_CLASSES": 1000,
            "PATCH_SIZE": 16,
            "MLP_RATIO": 4.0,
            "QKV_BIAS": True,
            "GLOBAL_POOL": Key(False, "probe the class token; True: the mean of the patch tokens"),
            "HEAD": Key(
                "linear",
                'or "attentive": learned queries pool the patch tokens',
                "efficient probing, arXiv 2506.10178",
                choices=HEADS,
            ),
            "BLOCK": Key(
                -1,
                "the block whose tokens the head reads, behind the last norm: its number from 0, or from the end if"
                " negative; the probe does without those after it",
            ),
            "NUM_QUERIES": Key(32, "of the attentive head; a divisor of MODEL.ENCODER.EMBED_DIM", positive=True),
            "ENCODER": {"EMBED_DIM": 768, "DEPTH": 12, "NUM_HEADS": 12},
        },
        "TRAIN": {
            "NUM_EPOCHS": Key(90, source="Table 10: 90"),
            "WARMUP_EPOCHS": Key(10, source="Table 10: 10"),
            "BASE_LR": Key(0.1, source="Table 10"),
            "LINEAR_SCALED_LR": 256,
            "WARMUP_START_LR": 0.0,
            "END_LR": 0.0,
            "WEIGHT_DECAY": Key(0.0, "of the head", "Table 10: 0"),
            "GRAD_CLIP": None,
            "ACCUM_ITER": 1,
            "CLASS_WEIGHTS": None,
            "BEST_BY": "top1",
            "OPTIMIZER": {
                "NAME": Key("LARS", "of the head", "Table 10", choices=OPTIMIZERS),
                "MOMENTUM": Key(0.9, "of LARS", "Table 10: 0.9", range=(0, 0.9999)),
                "TRUST": Key(1e-3, "LARS: step over the norm of the weights", positive=True),
            },
            "CACHE_FEATURES": Key(
                False,
                "Encode each image once, without augmentation, and train the head on that: fast, and not the paper's"
                " recipe.",
            ),
        },
        "SAVE": None,
        "SAVE_FREQ": 1,
        "SAVE_KEEP": 2,
        "VALIDATE_FREQ": 1,
        "REPORT_FREQ": 20,
        "NO_CACHE": Key(False, "encode anew what lies in features/ of the run of the weights, and keep nothing there"),
        "LOGGERS": [],
        "SEED": 0,
        "EVAL": False,
        "AMP": False,
        "AMP_DTYPE": "bfloat16",
    },
    SHARED,
)


def validate(c: Config) -> None:
    """Check what the model, the data path and the loop rely on."""
    require_common(c)
    require_classifier(c)
    block, depth = c.MODEL.BLOCK, c.MODEL.ENCODER.DEPTH
    require(
        -depth <= block < depth,
        f"MODEL.BLOCK={block} is not there; the encoder has {depth}: use 0 to {depth - 1}, or -1 for the last",
    )
    if c.MODEL.HEAD == "attentive":
        _require_attentive(c)
    require(
        not (c.MODEL.RANDOM_INIT and c.EVAL),
        "MODEL.RANDOM_INIT (--random-init) has no trained probe to score: leave -eval out",
    )


def _require_attentive(c: Config) -> None:
    width, queries = c.MODEL.ENCODER.EMBED_DIM, c.MODEL.NUM_QUERIES
    require(
        width % queries == 0,
        f"MODEL.NUM_QUERIES={queries} does not divide MODEL.ENCODER.EMBED_DIM={width}; use a divisor of it",
    )
    require(
        not c.MODEL.GLOBAL_POOL,
        "MODEL.HEAD=attentive pools the patch tokens itself: set MODEL.GLOBAL_POOL False, or MODEL.HEAD linear",
    )


RECIPE = Recipe("mae_probe", KEYS, validate, count_classes)
