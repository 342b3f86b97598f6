"""The fine-tuning recipe: every key with its default (Base, Table 9 and the official settings), and what must hold.

Keys and meanings are those of PaddleViT's MAE configs, so its fine-tuning YAML files load as they are.
"""

from mae_core.config import Config as CN
from mae_core.stage.checks import (
    has_8_bit_pictures,
    require,
    require_adam,
    require_classifier,
    require_common,
    require_none_or,
    require_one_of,
    require_positive,
    require_within,
)
from mae_core.stage.recipe import ALSO, Recipe

OPTIMIZERS = ("AdamW", "AdamWDL")  # the names in mae_finetune.optimizer.BUILDERS, which needs Paddle

_C = CN()

_C.DATA = CN()
_C.DATA.DATASET = "imagenet2012"  # the only name; what DATA_PATH is decides where images come from
_C.DATA.DATA_PATH = "/dataset/imagenet/"  # folder with lists, or without any
_C.DATA.TRAIN_LIST = "train_list.txt"
_C.DATA.VAL_LIST = "val_list.txt"
_C.DATA.ALLOW_OUTSIDE = False  # whether lists may name absolute paths and `..`; links below DATA_PATH always work
_C.DATA.CLASS_NAMES = None  # file of a name a line, below DATA_PATH or from here; None: classes.txt, or class folders
_C.DATA.BATCH_SIZE = 32  # images a rank and forward pass
_C.DATA.BATCH_SIZE_EVAL = None  # None: BATCH_SIZE
_C.DATA.IMAGE_SIZE = 224  # pixels, a number or [height, width]
_C.DATA.IMAGE_CHANNELS = 3  # 3 colour, 1 grey, or as many as each image has
_C.DATA.VALUE_RANGE = 255  # white of 8-bit integers, above 255 of 16-bit ones (65535), or [low, high] of floats
_C.DATA.IMAGENET_MEAN = [0.485, 0.456, 0.406]  # one number a channel, 0 and 1 the ends of VALUE_RANGE
_C.DATA.IMAGENET_STD = [0.229, 0.224, 0.225]
_C.DATA.CROP_PCT = None  # evaluation: part of the shorter side that is shown; None: 0.875, above 224 pixels 1.0
_C.DATA.CROP_SCALE = [0.08, 1.0]  # training: area range of the random resized crop
_C.DATA.HFLIP = 0.5  # training: probability of a horizontal flip
_C.DATA.NUM_WORKERS = 2  # loader processes a rank
_C.DATA.TIMEOUT = 300.0  # seconds that a batch may take before the run ends; 0: for ever
_C.DATA.DECODER = "exact"  # JPEG: Pillow's pixels, or "fast": large photographs are halved while they are decoded
_C.DATA.ON_ERROR = "raise"  # a bad training image: "raise" ends the run, "skip" takes another; evaluation never skips

_C.MODEL = CN()
_C.MODEL.TYPE = "FINETUNE"
_C.MODEL.NAME = "vit_base_patch16_224"  # a label; the keys below make the model
_C.MODEL.PRETRAINED = None  # weights to start from, or to evaluate
_C.MODEL.RESUME = None  # run folder or checkpoint to go on from; "auto": SAVE, or anew where it holds none
_C.MODEL.NUM_CLASSES = 1000
_C.MODEL.PATCH_SIZE = 16
_C.MODEL.MLP_RATIO = 4.0
_C.MODEL.QKV_BIAS = True
_C.MODEL.DROPOUT = 0.0  # MAE's ViT has neither of these two; the keys are read for the sake of older files
_C.MODEL.ATTENTION_DROPOUT = 0.0
_C.MODEL.DROPPATH = 0.1
_C.MODEL.GLOBAL_POOL = True  # mean of the patch tokens; False: the class token
_C.MODEL.GRAD_CHECKPOINTING = False  # recompute activations: less memory, more time
_C.MODEL.ENCODER = CN({"EMBED_DIM": 768, "DEPTH": 12, "NUM_HEADS": 12})

_C.TRAIN = CN()
_C.TRAIN.NUM_EPOCHS = 100
_C.TRAIN.WARMUP_EPOCHS = 5
_C.TRAIN.BASE_LR = 5e-4  # for an effective batch of LINEAR_SCALED_LR images
_C.TRAIN.LINEAR_SCALED_LR = 256  # None: BASE_LR is the learning rate itself
_C.TRAIN.WARMUP_START_LR = 0.0
_C.TRAIN.END_LR = 1e-6
_C.TRAIN.WEIGHT_DECAY = 0.05
_C.TRAIN.LAYER_DECAY = 0.65  # learning rate of a layer over that of the next; None: the same for all
_C.TRAIN.PARTIAL = None  # train the last so many blocks only; 0.5: the last MLP, 0: the head alone
_C.TRAIN.GRAD_CLIP = None  # largest gradient norm
_C.TRAIN.ACCUM_ITER = 1  # forward passes an update
_C.TRAIN.EMA = None  # decay of averaged weights (0.9999); validation and -pretrained then take the averages
_C.TRAIN.OPTIMIZER = CN({"NAME": "AdamW", "EPS": 1e-8, "BETAS": (0.9, 0.999)})
_C.TRAIN.SMOOTHING = 0.1  # label smoothing
_C.TRAIN.RAND_AUGMENT = True
_C.TRAIN.RAND_AUGMENT_LAYERS = 2  # operations an image
_C.TRAIN.RAND_AUGMENT_MAGNITUDE = 9  # 0 to 10
_C.TRAIN.RAND_AUGMENT_STD = 0.5  # of the magnitude
_C.TRAIN.RANDOM_ERASE_PROB = 0.25
_C.TRAIN.RANDOM_ERASE_MODE = "pixel"  # the only kind: noise a pixel
_C.TRAIN.RANDOM_ERASE_COUNT = 1  # boxes an image, at most
_C.TRAIN.RANDOM_ERASE_SPLIT = False  # of several views of an image, which are not made here
_C.TRAIN.MIXUP_ALPHA = 0.8  # 0: no mixup
_C.TRAIN.MIXUP_PROB = 1.0  # of mixing at all, by mixup or cutmix
_C.TRAIN.MIXUP_SWITCH_PROB = 0.5  # of cutmix, where both are on
_C.TRAIN.MIXUP_MODE = "batch"  # what one draw is for: all of a batch, each "pair", each "elem"
_C.TRAIN.CUTMIX_ALPHA = 1.0  # 0: no cutmix
_C.TRAIN.CUTMIX_MINMAX = None  # the only value: boxes are drawn by CUTMIX_ALPHA

_C.ROBUST = CN()  # -eval on other test sets than the validation list
_C.ROBUST.CLASS_MAP = None  # file of `CLASS_FOLDER OUTPUT` lines: labels by folder name, other outputs do not count
_C.ROBUST.CORRUPTIONS = False  # the list's paths begin with CORRUPTION/SEVERITY/ (ImageNet-C): report mCE
_C.ROBUST.ALEXNET_ERRORS = None  # YAML file of `corruption: error` that mCE divides by; None: AlexNet's, published

_C.SAVE = "./output"  # run folder: log.jsonl, config.yaml, checkpoints/, best; eval/ of -eval
_C.SAVE_FREQ = 1  # epochs between checkpoints; each validation makes one too
_C.SAVE_KEEP = 2  # checkpoints to keep, beside the best
_C.VALIDATE_FREQ = 1  # epochs between validations; 0: none
_C.REPORT_FREQ = 20  # steps between log lines
_C.SEED = 0
_C.EVAL = False  # score MODEL.PRETRAINED on the validation list, no training
_C.AMP = False  # mixed precision (GPU)
_C.AMP_DTYPE = "bfloat16"  # or "float16", with loss scaling

_CHOICES = {
    "MODEL.TYPE": ("FINETUNE",),
    "TRAIN.OPTIMIZER.NAME": OPTIMIZERS,
    "TRAIN.RANDOM_ERASE_MODE": ("pixel",),
    "TRAIN.MIXUP_MODE": ("batch", "pair", "elem"),
    "TRAIN.CUTMIX_MINMAX": (None,),
    "TRAIN.RANDOM_ERASE_SPLIT": (False,),
}
_RANGES: dict[str, tuple[float, float]] = {
    "TRAIN.SMOOTHING": (0, 1),
    "TRAIN.RAND_AUGMENT_LAYERS": (1, 16),
    "TRAIN.RAND_AUGMENT_MAGNITUDE": (0, 10),
    "TRAIN.RAND_AUGMENT_STD": (0, 10),
    "TRAIN.RANDOM_ERASE_PROB": (0, 1),
    "TRAIN.MIXUP_ALPHA": (0, 1000),
    "TRAIN.MIXUP_PROB": (0, 1),
    "TRAIN.MIXUP_SWITCH_PROB": (0, 1),
    "TRAIN.CUTMIX_ALPHA": (0, 1000),
}


def validate(c: CN) -> None:
    """Check what the model, the data path and the loop rely on."""
    require_common(c)
    require_adam(c)
    require_classifier(c)
    require_one_of(c, _CHOICES)
    require_positive(c, ["TRAIN.RANDOM_ERASE_COUNT"])
    require_within(c, _RANGES)
    require(
        has_8_bit_pictures(c) or not c.TRAIN.RAND_AUGMENT or c.EVAL,
        "TRAIN.RAND_AUGMENT=True works on 8-bit images of 1 or 3 channels, but"
        f" DATA.VALUE_RANGE={c.DATA.VALUE_RANGE} and DATA.IMAGE_CHANNELS={c.DATA.IMAGE_CHANNELS}; set it to False",
    )
    require_none_or(c, "TRAIN.LAYER_DECAY", lambda v: 0 < v <= 1, "a factor above 0 and up to 1")
    require_none_or(c, "TRAIN.EMA", lambda v: 0 < v < 1, "a decay between 0 and 1 (0.9999)")
    depth = c.MODEL.ENCODER.DEPTH
    blocks = f"0, 0.5 or a number of blocks up to MODEL.ENCODER.DEPTH={depth}"
    require_none_or(c, "TRAIN.PARTIAL", lambda v: v == 0.5 or v in range(depth + 1), blocks)
    for key in ("DROPOUT", "ATTENTION_DROPOUT"):
        require(c.MODEL[key] == 0, f"MODEL.{key}={c.MODEL[key]} is not 0: MAE's ViT has none; use MODEL.DROPPATH")
    require(
        c.EVAL or not mixes(c) or c.DATA.BATCH_SIZE % 2 == 0,
        f"DATA.BATCH_SIZE={c.DATA.BATCH_SIZE} is odd: mixup and cutmix pair the images of a batch;"
        " use an even batch, or TRAIN.MIXUP_ALPHA 0 TRAIN.CUTMIX_ALPHA 0",
    )


def mixes(c: CN) -> bool:
    """Tell whether training images are mixed."""
    t = c.TRAIN
    return bool(t.MIXUP_PROB > 0 and (t.MIXUP_ALPHA > 0 or t.CUTMIX_ALPHA > 0))


_ALSO = {
    **ALSO,
    "TRAIN.LAYER_DECAY": type(None),
    "DATA.CLASS_NAMES": str,
    "ROBUST.CLASS_MAP": str,
    "ROBUST.ALEXNET_ERRORS": str,
}
RECIPE = Recipe("mae_finetune", _C, _ALSO, validate)
