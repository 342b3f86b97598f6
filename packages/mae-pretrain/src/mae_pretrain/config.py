"""The pre-training recipe: every key with its default (Base, Table 8), and what must hold between keys.

Keys and meanings are those of PaddleViT's MAE configs, so its pre-training YAML files load as they are.
"""

from mae_core.config import Config as CN
from mae_core.stage.checks import (
    require,
    require_adam,
    require_common,
    require_one_of,
    require_positive,
    require_within,
)
from mae_core.stage.recipe import ALSO, Recipe

# The names in mae_core.ops.STRATEGIES and mae_pretrain.optimizer.BUILDERS, which need Paddle.
MASKINGS = ("random", "block")
OPTIMIZERS = ("AdamW", "AdamWDL")  # the same here: AdamWDL without layer decay is AdamW

_C = CN()

_C.DATA = CN()
_C.DATA.DATASET = "imagenet2012"  # the only name; what DATA_PATH is decides where images come from
_C.DATA.DATA_PATH = "/dataset/imagenet/"  # folder with lists, or without any
_C.DATA.TRAIN_LIST = "train_list.txt"
_C.DATA.VAL_LIST = "val_list.txt"
_C.DATA.ALLOW_OUTSIDE = False  # whether lists may name absolute paths and `..`; links below DATA_PATH always work
_C.DATA.BATCH_SIZE = 256  # images a rank and forward pass
_C.DATA.IMAGE_SIZE = 224  # pixels, a number or [height, width]
_C.DATA.IMAGE_CHANNELS = 3  # 3 colour, 1 grey, or as many as each image has
_C.DATA.VALUE_RANGE = 255  # white of 8-bit integers, above 255 of 16-bit ones (65535), or [low, high] of floats
_C.DATA.IMAGENET_MEAN = [0.485, 0.456, 0.406]  # one number a channel, 0 and 1 the ends of VALUE_RANGE
_C.DATA.IMAGENET_STD = [0.229, 0.224, 0.225]
_C.DATA.CROP_PCT = 0.875  # evaluation: part of the shorter side that the centre crop shows
_C.DATA.CROP_SCALE = [0.2, 1.0]  # training: area range of the random resized crop
_C.DATA.HFLIP = 0.5  # training: probability of a horizontal flip
_C.DATA.REPEATS = 1  # crops and masks of each decoded image, as MAE-ST and Hiera: another recipe, faster to load
_C.DATA.NUM_WORKERS = 2  # loader processes a rank
_C.DATA.TIMEOUT = 300.0  # seconds that a batch may take before the run ends; 0: for ever
_C.DATA.DECODER = "exact"  # JPEG: Pillow's pixels, or "fast": large photographs are halved while they are decoded
_C.DATA.ON_ERROR = "raise"  # a bad training image: "raise" ends the run, "skip" takes another; evaluation never skips

_C.MODEL = CN()
_C.MODEL.TYPE = "PRETRAIN"
_C.MODEL.NAME = "vit_base_patch16_224"  # a label; the keys below make the model
_C.MODEL.PRETRAINED = None  # weights to start from, or to evaluate
_C.MODEL.RESUME = None  # run folder or checkpoint to go on from; "auto": SAVE, or anew where it holds none
_C.MODEL.PATCH_SIZE = 16
_C.MODEL.MLP_RATIO = 4.0
_C.MODEL.QKV_BIAS = True
_C.MODEL.DROPPATH = 0.0
_C.MODEL.MASK_RATIO = 0.75
_C.MODEL.MASKING = "random"  # or "block": rectangles of patches, as in BEiT; best at a ratio of 0.5 (paper, Table 1f)
_C.MODEL.NORM_PIX_LOSS = True
_C.MODEL.GRAD_CHECKPOINTING = False  # recompute activations: less memory, more time
_C.MODEL.ENCODER = CN({"EMBED_DIM": 768, "DEPTH": 12, "NUM_HEADS": 12})
_C.MODEL.DECODER = CN({"EMBED_DIM": 512, "DEPTH": 8, "NUM_HEADS": 16})

_C.TRAIN = CN()
_C.TRAIN.NUM_EPOCHS = 800
_C.TRAIN.WARMUP_EPOCHS = 40
_C.TRAIN.BASE_LR = 1.5e-4  # for an effective batch of LINEAR_SCALED_LR images
_C.TRAIN.LINEAR_SCALED_LR = 256  # None: BASE_LR is the learning rate itself
_C.TRAIN.WARMUP_START_LR = 0.0
_C.TRAIN.END_LR = 0.0
_C.TRAIN.WEIGHT_DECAY = 0.05
_C.TRAIN.GRAD_CLIP = None  # largest gradient norm
_C.TRAIN.ACCUM_ITER = 1  # forward passes an update
_C.TRAIN.OPTIMIZER = CN({"NAME": "AdamW", "EPS": 1e-8, "BETAS": (0.9, 0.95)})

_C.MONITOR = CN()
_C.MONITOR.EVERY = 0  # epochs between looks at held-out loss, pictures, RankMe and, with labels, kNN; 0: never
_C.MONITOR.VAL_IMAGES = 2000  # images of the validation list that are scored, at most
_C.MONITOR.TRAIN_IMAGES = 10000  # training images that kNN compares them with, at most
_C.MONITOR.PICTURES = 8  # reconstructions drawn to SAVE/monitor

_C.SAVE = "./output"  # run folder: log.jsonl, config.yaml, checkpoints/
_C.SAVE_FREQ = 1  # epochs between checkpoints
_C.SAVE_KEEP = 2  # checkpoints to keep
_C.REPORT_FREQ = 20  # steps between log lines
_C.SEED = 0
_C.EVAL = False  # score MODEL.PRETRAINED on the validation list, no training
_C.AMP = False  # mixed precision (GPU)
_C.AMP_DTYPE = "bfloat16"  # or "float16", with loss scaling


def validate(c: CN) -> None:
    """Check what the model, the data path and the loop rely on."""
    require_common(c)
    require_adam(c)
    require_positive(c, ["MODEL.DECODER.EMBED_DIM", "MODEL.DECODER.DEPTH", "MODEL.DECODER.NUM_HEADS"])
    require_one_of(c, {"MODEL.TYPE": ("PRETRAIN",), "MODEL.MASKING": MASKINGS, "TRAIN.OPTIMIZER.NAME": OPTIMIZERS})
    require_positive(c, ["DATA.REPEATS", "MONITOR.VAL_IMAGES", "MONITOR.TRAIN_IMAGES", "MONITOR.PICTURES"])
    require_within(c, {"MONITOR.EVERY": (0, 10**9)})
    require(
        c.DATA.BATCH_SIZE % c.DATA.REPEATS == 0,
        f"DATA.REPEATS={c.DATA.REPEATS} does not divide DATA.BATCH_SIZE={c.DATA.BATCH_SIZE}; use a divisor of it",
    )
    require(
        0 < c.MODEL.MASK_RATIO < 1,
        f"MODEL.MASK_RATIO={c.MODEL.MASK_RATIO} is outside (0, 1); the paper's is 0.75",
    )


RECIPE = Recipe("mae_pretrain", _C, ALSO, validate)
