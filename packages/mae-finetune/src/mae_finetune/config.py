"""The fine-tuning recipe: every key with its default (Base, Table 9 and the official settings), and what must hold.

What the plain values mean stands in `mae_core.stage.config.shared_keys`, and `mae-finetune --help-config` prints it
beside them. Keys and meanings are those of PaddleViT's MAE configs, so its fine-tuning YAML files load as they are.
"""

from mae_core.stage.config.checks import (
    has_8_bit_pictures,
    require,
    require_adam,
    require_common,
    require_none_or,
)
from mae_core.stage.config.keys import Key, keys_of
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import Recipe
from mae_core.stage.config.shared_keys import SHARED
from mae_data.sources.list_file import count_classes
from mae_finetune.tasks import TASKS
from mae_finetune.tasks.checks import REQUIRE, REQUIRE_TRAINING

OPTIMIZERS = ("AdamW", "AdamWDL")  # the names in mae_finetune.optimizer.BUILDERS, which needs Paddle

KEYS = keys_of(
    {
        "DATA": {
            "DATA_PATH": "/dataset/imagenet/",
            "TRAIN_LIST": "train_list.txt",
            "VAL_LIST": "val_list.txt",
            "ALLOW_OUTSIDE": False,
            "CLASS_NAMES": Key(
                None, "file of a name per line, below DATA_PATH or from here; None: classes.txt or folders", also=str
            ),
            "BATCH_SIZE": 32,
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
            "SCALE_JITTER": Key(
                [0.5, 2.0],
                "segment: range of how much larger training shows things than evaluation; CROP_SCALE is not used",
            ),
            "IGNORE": Key(255, "segment: value of a mask's pixels that do not count", range=(0, 65535)),
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
            "TYPE": Key("FINETUNE", "the stage; no other is taken", choices=("FINETUNE",)),
            "TASK": Key(
                "classify",
                "what is predicted of an image: its class, any of several labels, or numbers; NUM_CLASSES of them",
                choices=tuple(TASKS),
            ),
            "NAME": None,
            "PRETRAINED": None,
            "CHANNELS_FROM": None,
            "RESUME": None,
            "NUM_CLASSES": 1000,
            "PATCH_SIZE": 16,
            "MLP_RATIO": 4.0,
            "QKV_BIAS": True,
            "DROPPATH": Key(0.1, source="Table 9"),
            "GLOBAL_POOL": Key(True, "classify the mean of the patch tokens; False: the class token"),
            "HEAD": Key(
                "upernet", "segment: upernet, or light for few images", "appendix A.4", choices=("upernet", "light")
            ),
            "HEAD_CHANNELS": Key(None, "segment: inner channels of the head; None: 512 of upernet, 256 of light"),
            "GRAD_CHECKPOINTING": False,
            "ENCODER": {"EMBED_DIM": 768, "DEPTH": 12, "NUM_HEADS": 12},
        },
        "TRAIN": {
            "NUM_EPOCHS": Key(100, source="Table 9: 100 for B, 50 for L and H"),
            "WARMUP_EPOCHS": Key(5, source="Table 9: 5"),
            "BASE_LR": Key(5e-4, source="Table 9: 1e-3"),
            "LINEAR_SCALED_LR": 256,
            "WARMUP_START_LR": 0.0,
            "END_LR": 1e-6,
            "WEIGHT_DECAY": Key(0.05, source="Table 9: 0.05"),
            "LAYER_DECAY": Key(
                0.65, "learning rate of a layer over that of the next; None: the same for all", also=type(None)
            ),
            "PARTIAL": Key(None, "train the last so many blocks only; 0.5: the last MLP, 0: the head alone"),
            "GRAD_CLIP": None,
            "ACCUM_ITER": 1,
            "SHARD_OPTIMIZER": False,
            "EMA": Key(None, "decay of averaged weights (0.9999); validation and -pretrained then take the averages"),
            "CLASS_WEIGHTS": None,
            "BEST_BY": None,
            "OPTIMIZER": {
                "NAME": Key(
                    "AdamW", "AdamWDL is PaddleNLP's (extra paddlenlp); the steps are the same", choices=OPTIMIZERS
                ),
                "EPS": 1e-8,
                "BETAS": Key((0.9, 0.999), source="Table 9"),
            },
            "SMOOTHING": Key(0.1, "label smoothing", "Table 9", range=(0, 1)),
            "RAND_AUGMENT": Key(True, "whether RandAugment is applied to training images", "Table 9: (9, 0.5)"),
            "RAND_AUGMENT_LAYERS": Key(2, "RandAugment's operations per image", range=(1, 16)),
            "RAND_AUGMENT_MAGNITUDE": Key(9, "strength of RandAugment's operations", "Table 9", range=(0, 10)),
            "RAND_AUGMENT_STD": Key(0.5, "deviation of that strength from image to image", "Table 9", range=(0, 10)),
            "RANDOM_ERASE_PROB": Key(0.25, "part of the training images in which a box is erased", range=(0, 1)),
            "RANDOM_ERASE_COUNT": Key(1, "erased boxes per image, at most", positive=True),
            "MIXUP_ALPHA": Key(0.8, "of mixup's Beta distribution (Table 9); 0: no mixup", range=(0, 1000)),
            "MIXUP_PROB": Key(1.0, "probability of mixing at all, by mixup or cutmix", range=(0, 1)),
            "MIXUP_SWITCH_PROB": Key(0.5, "probability of cutmix rather than mixup, where both are on", range=(0, 1)),
            "MIXUP_MODE": Key(
                "batch",
                'what one draw is for: all of a batch, each "pair", each "elem"',
                choices=("batch", "pair", "elem"),
            ),
            "CUTMIX_ALPHA": Key(1.0, "of cutmix's Beta distribution (Table 9); 0: no cutmix", range=(0, 1000)),
        },
        "ROBUST": {  # -eval on other test sets than the validation list
            "CLASS_MAP": Key(
                None, "file of `CLASS_FOLDER OUTPUT` lines: labels by folder name, other outputs do not count", also=str
            ),
            "CORRUPTIONS": Key(False, "the list's paths begin with CORRUPTION/SEVERITY/ (ImageNet-C): report mCE"),
            "ALEXNET_ERRORS": Key(
                None, "YAML file of `corruption: error` that mCE divides by; None: AlexNet's, published", also=str
            ),
        },
        "SAVE": None,
        "SAVE_FREQ": 1,
        "SAVE_KEEP": 2,
        "VALIDATE_FREQ": 1,
        "REPORT_FREQ": 20,
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
    require_adam(c)
    REQUIRE[c.MODEL.TASK](c)
    require_none_or(c, "TRAIN.LAYER_DECAY", lambda v: 0 < v <= 1, "a factor above 0 and up to 1")
    require_none_or(c, "TRAIN.EMA", lambda v: 0 < v < 1, "a decay between 0 and 1 (0.9999)")
    depth = c.MODEL.ENCODER.DEPTH
    blocks = f"0, 0.5 or a number of blocks up to MODEL.ENCODER.DEPTH={depth}"
    require_none_or(c, "TRAIN.PARTIAL", lambda v: v == 0.5 or v in range(depth + 1), blocks)


def validate_training(c: Config) -> None:
    """Check what training alone relies on: a classifier is scored, asked and exported without it."""
    if c.EVAL:
        return
    REQUIRE_TRAINING[c.MODEL.TASK](c)
    require(
        has_8_bit_pictures(c) or not c.TRAIN.RAND_AUGMENT,
        "TRAIN.RAND_AUGMENT=True works on 8-bit images of 1 or 3 channels, but"
        f" DATA.VALUE_RANGE={c.DATA.VALUE_RANGE} and DATA.IMAGE_CHANNELS={c.DATA.IMAGE_CHANNELS}; set it to False"
        " (flips and quarter turns work on all: DATA.VFLIP, DATA.ROTATE90)",
    )
    require(
        not mixes(c) or c.DATA.BATCH_SIZE % 2 == 0,
        f"DATA.BATCH_SIZE={c.DATA.BATCH_SIZE} is odd: mixup and cutmix pair the images of a batch;"
        " use an even batch, or TRAIN.MIXUP_ALPHA 0 TRAIN.CUTMIX_ALPHA 0",
    )


def mixes(c: Config) -> bool:
    """Return whether training images are mixed."""
    t = c.TRAIN
    return bool(t.MIXUP_PROB > 0 and (t.MIXUP_ALPHA > 0 or t.CUTMIX_ALPHA > 0))


RECIPE = Recipe("mae_finetune", KEYS, validate, count_classes, validate_training)
