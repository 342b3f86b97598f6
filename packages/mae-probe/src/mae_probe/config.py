"""The linear-probing recipe: every key with its default (Base, Table 10 and the official settings), and what must hold.

Keys and meanings are those of PaddleViT's MAE configs, so its linear-probing YAML files load as they are.
"""

from mae_core.stage.config.checks import require, require_classifier, require_common
from mae_core.stage.config.limits import CLASSIFIER, COMMON, Limits
from mae_core.stage.config.node import Config as CN
from mae_core.stage.config.recipe import OTHER_TYPES, Recipe
from mae_data.sources.class_file import count_classes

# The names in mae_probe.heads.linear.HEADS and mae_probe.optimizer.BUILDERS, which need Paddle.
HEADS = ("linear", "attentive")
OPTIMIZERS = ("LARS",)

_C = CN()

_C.DATA = CN()
_C.DATA.DATASET = "imagenet2012"  # the only name; what DATA_PATH is decides where images come from
_C.DATA.DATA_PATH = "/dataset/imagenet/"  # folder with lists, or without any
_C.DATA.TRAIN_LIST = "train_list.txt"  # lines of `PATH [LABEL]`, below DATA_PATH
_C.DATA.VAL_LIST = "val_list.txt"  # the same for validation and -eval
_C.DATA.ALLOW_OUTSIDE = False  # whether lists may name absolute paths and `..`; links below DATA_PATH always work
_C.DATA.BATCH_SIZE = 512  # images per rank and forward pass
_C.DATA.BATCH_SIZE_EVAL = None  # images per rank in validation and -eval; None: BATCH_SIZE
_C.DATA.IMAGE_SIZE = 224  # pixels, a number or [height, width]
_C.DATA.IMAGE_CHANNELS = 3  # 3 colour, 1 grey, or as many as each image has
_C.DATA.BANDS = None  # those that are taken of each image, in this order: numbers from 0 or the file's names; None: all
_C.DATA.EXIF = True  # turn photographs as their EXIF tag says; False: as stored, as published ImageNet figures were
_C.DATA.VALUE_RANGE = 255  # white of 8-bit integers, above 255 of 16-bit ones (65535), or [low, high] of floats
_C.DATA.IMAGENET_MEAN = [0.485, 0.456, 0.406]  # one number per channel, 0 and 1 the ends of VALUE_RANGE
_C.DATA.IMAGENET_STD = [0.229, 0.224, 0.225]  # one number per channel; pixels are normalised as (value - mean) / std
_C.DATA.CROP_PCT = None  # evaluation: part of the shorter side that is shown; None: 0.875, above 224 pixels 1.0
_C.DATA.CROP_SCALE = [0.08, 1.0]  # training: area range of the random resized crop
_C.DATA.HFLIP = 0.5  # training: probability of a horizontal flip
_C.DATA.VFLIP = 0.0  # training: probability of a vertical flip
_C.DATA.ROTATE90 = False  # training: turn by 0, 90, 180 or 270 degrees, each as likely: images from above, or of cells
_C.DATA.NUM_WORKERS = 2  # loader processes per rank
_C.DATA.TIMEOUT = 300.0  # seconds that a batch may take before the run ends; 0: for ever
_C.DATA.DECODER = "exact"  # JPEG: Pillow's pixels, or "fast": large photographs are halved while they are decoded
_C.DATA.ON_ERROR = "skip"  # a bad image: "skip" passes over it, "raise" ends the run; validation and -eval never skip
_C.DATA.MAX_BAD = 100  # images that are passed over, at most; more than half of a list are too many in any case

_C.MODEL = CN()
_C.MODEL.TYPE = "LINEARPROBE"  # the stage; no other is taken
_C.MODEL.NAME = "vit_base_patch16_224"  # a label; the keys below make the model
_C.MODEL.PRETRAINED = None  # weights whose features are probed, or a probe to evaluate
_C.MODEL.RANDOM_INIT = False  # probe random weights, whatever PRETRAINED names: the baseline that training must beat
_C.MODEL.RESUME = None  # run folder or checkpoint to go on from; "auto": SAVE, or anew where it holds none
_C.MODEL.NUM_CLASSES = 1000  # outputs of the head; by default as many as DATA_PATH names (classes.txt, folders)
_C.MODEL.PATCH_SIZE = 16  # pixels, the side of a square patch; it divides IMAGE_SIZE
_C.MODEL.MLP_RATIO = 4.0  # width of a block's MLP over its own
_C.MODEL.QKV_BIAS = True  # whether query, key and value have biases, as ViT's have
_C.MODEL.DROPOUT = 0.0  # the frozen encoder drops nothing; the key is read for the sake of older files
_C.MODEL.ATTENTION_DROPOUT = 0.0  # the frozen encoder drops nothing; the key is read for the sake of older files
_C.MODEL.DROPPATH = 0.0  # the frozen encoder drops nothing; the key is read for the sake of older files
_C.MODEL.GLOBAL_POOL = False  # probe the class token; True: the mean of the patch tokens
_C.MODEL.HEAD = "linear"  # or "attentive": learned queries pool the patch tokens (efficient probing, arXiv 2506.10178)
_C.MODEL.NUM_QUERIES = 32  # of the attentive head; a divisor of MODEL.ENCODER.EMBED_DIM
_C.MODEL.ENCODER = CN()
_C.MODEL.ENCODER.EMBED_DIM = 768  # width of a token; a multiple of NUM_HEADS and of 4 (B 768, L 1024, H 1280)
_C.MODEL.ENCODER.DEPTH = 12  # blocks (B 12, L 24, H 32)
_C.MODEL.ENCODER.NUM_HEADS = 12  # attention heads of a block (B 12, L 16, H 16)

_C.TRAIN = CN()
_C.TRAIN.NUM_EPOCHS = 90  # passes over the images (Table 10: 90)
_C.TRAIN.WARMUP_EPOCHS = 10  # epochs in which the learning rate rises linearly from WARMUP_START_LR (Table 10: 10)
_C.TRAIN.BASE_LR = 0.1  # learning rate for an effective batch of LINEAR_SCALED_LR images (Table 10)
_C.TRAIN.LINEAR_SCALED_LR = 256  # images that BASE_LR is for (appendix A.1); None: BASE_LR is the learning rate itself
_C.TRAIN.WARMUP_START_LR = 0.0  # learning rate of the first step
_C.TRAIN.END_LR = 0.0  # learning rate at the end of the cosine
_C.TRAIN.WEIGHT_DECAY = 0.0  # of the head (Table 10: 0)
_C.TRAIN.GRAD_CLIP = None  # largest norm of all gradients together; None: any
_C.TRAIN.ACCUM_ITER = 1  # forward passes per update
_C.TRAIN.OPTIMIZER = CN()
_C.TRAIN.OPTIMIZER.NAME = "LARS"  # of the head (Table 10)
_C.TRAIN.OPTIMIZER.MOMENTUM = 0.9  # of LARS (Table 10: 0.9)
_C.TRAIN.OPTIMIZER.TRUST = 1e-3  # LARS: step over the norm of the weights
# Encode each image once, without augmentation, and train the head on that: fast, and not the paper's recipe.
_C.TRAIN.CACHE_FEATURES = False

_C.SAVE = None  # run folder (log, config, checkpoints, best; eval/ of -eval); None: the next free runs/NAME-NUMBER
_C.SAVE_FREQ = 1  # epochs between checkpoints; each validation makes one too
_C.SAVE_KEEP = 2  # checkpoints to keep, beside the best
_C.VALIDATE_FREQ = 1  # epochs between validations; 0: none
_C.REPORT_FREQ = 20  # steps between log lines
_C.KEEP_FEATURES = True  # what is encoded once lies in features/ of the run of the weights, for other commands too
_C.LOGGERS = []  # boards beside log.jsonl: "tensorboard", "visualdl", "wandb"
_C.SEED = 0  # it decides initial weights, order, crops and masks
_C.EVAL = False  # score MODEL.PRETRAINED on the validation list, no training
_C.AMP = False  # mixed precision; on a CPU in matrix products, where it multiplies bfloat16 by itself
_C.AMP_DTYPE = "bfloat16"  # what AMP computes in; "float16" (GPU only) has loss scaling


LIMITS = (
    COMMON
    | CLASSIFIER
    | Limits(
        choices={"MODEL.TYPE": ("LINEARPROBE",), "MODEL.HEAD": HEADS, "TRAIN.OPTIMIZER.NAME": OPTIMIZERS},
        positive=("MODEL.NUM_QUERIES", "TRAIN.OPTIMIZER.TRUST"),
        ranges={"TRAIN.OPTIMIZER.MOMENTUM": (0, 0.9999)},
    )
)


def validate(c: CN) -> None:
    """Check what the model, the data path and the loop rely on."""
    LIMITS.require(c)
    require_common(c)
    require_classifier(c)
    if c.MODEL.HEAD == "attentive":
        _require_attentive(c)
    require(
        not (c.MODEL.RANDOM_INIT and c.EVAL),
        "MODEL.RANDOM_INIT (--random-init) has no trained probe to score: leave -eval out",
    )


def _require_attentive(c: CN) -> None:
    width, queries = c.MODEL.ENCODER.EMBED_DIM, c.MODEL.NUM_QUERIES
    require(
        width % queries == 0,
        f"MODEL.NUM_QUERIES={queries} does not divide MODEL.ENCODER.EMBED_DIM={width}; use a divisor of it",
    )
    require(
        not c.MODEL.GLOBAL_POOL,
        "MODEL.HEAD=attentive pools the patch tokens itself: set MODEL.GLOBAL_POOL False, or MODEL.HEAD linear",
    )


RECIPE = Recipe("mae_probe", _C, OTHER_TYPES, validate, LIMITS, count_classes)
