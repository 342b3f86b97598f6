"""The pre-training recipe: every key with its default (Base, Table 8), and what must hold between keys.

Keys and meanings are those of PaddleViT's MAE configs, so its pre-training YAML files load as they are.
"""

from mae_core.stage.config.checks import require, require_adam, require_common
from mae_core.stage.config.limits import ADAM, COMMON, Limits
from mae_core.stage.config.node import Config as CN
from mae_core.stage.config.recipe import OTHER_TYPES, Recipe

# The names in mae_core.ops.STRATEGIES and mae_pretrain.optimizer.BUILDERS, which need Paddle.
MASKINGS = ("random", "block")
OPTIMIZERS = ("AdamW", "AdamWDL")  # the same here: AdamWDL without layer decay is AdamW

_C = CN()

_C.DATA = CN()
_C.DATA.DATASET = "imagenet2012"  # the only name; what DATA_PATH is decides where images come from
_C.DATA.DATA_PATH = "/dataset/imagenet/"  # folder with lists, or without any
_C.DATA.TRAIN_LIST = "train_list.txt"  # lines of `PATH [LABEL]`, below DATA_PATH
_C.DATA.VAL_LIST = "val_list.txt"  # the same for validation and -eval
_C.DATA.ALLOW_OUTSIDE = False  # whether lists may name absolute paths and `..`; links below DATA_PATH always work
_C.DATA.BATCH_SIZE = 256  # images per rank and forward pass
_C.DATA.IMAGE_SIZE = 224  # pixels, a number or [height, width]
_C.DATA.IMAGE_CHANNELS = 3  # 3 colour, 1 grey, or as many as each image has
_C.DATA.BANDS = None  # those that are taken of each image, in this order: numbers from 0 or the file's names; None: all
_C.DATA.EXIF = True  # turn photographs as their EXIF tag says; False: as stored, as published ImageNet figures were
_C.DATA.VALUE_RANGE = 255  # white of 8-bit integers, above 255 of 16-bit ones (65535), or [low, high] of floats
_C.DATA.IMAGENET_MEAN = [0.485, 0.456, 0.406]  # one number per channel, 0 and 1 the ends of VALUE_RANGE
_C.DATA.IMAGENET_STD = [0.229, 0.224, 0.225]  # one number per channel; pixels are normalised as (value - mean) / std
_C.DATA.CROP_PCT = 0.875  # evaluation: part of the shorter side that the centre crop shows
_C.DATA.CROP_SCALE = [0.2, 1.0]  # training: area range of the random resized crop
_C.DATA.HFLIP = 0.5  # training: probability of a horizontal flip
_C.DATA.VFLIP = 0.0  # training: probability of a vertical flip
_C.DATA.ROTATE90 = False  # training: turn by 0, 90, 180 or 270 degrees, each as likely: images from above, or of cells
_C.DATA.REPEATS = 1  # crops and masks of each decoded image, as MAE-ST and Hiera: another recipe, faster to load
_C.DATA.NUM_WORKERS = 2  # loader processes per rank
_C.DATA.TIMEOUT = 300.0  # seconds that a batch may take before the run ends; 0: for ever
_C.DATA.DECODER = "exact"  # JPEG: Pillow's pixels, or "fast": large photographs are halved while they are decoded
_C.DATA.ON_ERROR = "skip"  # a bad image: "skip" passes over it, "raise" ends the run; validation and -eval never skip
_C.DATA.MAX_BAD = 100  # images that are passed over, at most; more than half of a list are too many in any case

_C.MODEL = CN()
_C.MODEL.TYPE = "PRETRAIN"  # the stage; no other is taken
_C.MODEL.NAME = "vit_base_patch16_224"  # a label; the keys below make the model
_C.MODEL.PRETRAINED = None  # weights to start from, or to evaluate
_C.MODEL.CHANNELS_FROM = None  # adapt PRETRAINED to other IMAGE_CHANNELS: "repeat", "mean" or "first" of its channels
_C.MODEL.RESUME = None  # run folder or checkpoint to go on from; "auto": SAVE, or anew where it holds none
_C.MODEL.PATCH_SIZE = 16  # pixels, the side of a square patch; it divides IMAGE_SIZE
_C.MODEL.MLP_RATIO = 4.0  # width of a block's MLP over its own
_C.MODEL.QKV_BIAS = True  # whether query, key and value have biases, as ViT's have
_C.MODEL.DROPPATH = 0.0  # stochastic depth: probability of dropping the last block's branches, less below (not used)
_C.MODEL.MASK_RATIO = 0.75  # part of the patches that is removed (Figure 5; section 4.1)
_C.MODEL.MASKING = "random"  # which patches go: any, or "block": rectangles, best at a ratio of 0.5 (Table 1f)
_C.MODEL.NORM_PIX_LOSS = True  # predict pixels normalised within each patch (Table 1d: +0.5 points of fine-tuning)
_C.MODEL.GRAD_CHECKPOINTING = False  # recompute activations: less memory, more time
_C.MODEL.ENCODER = CN()
_C.MODEL.ENCODER.EMBED_DIM = 768  # width of a token; a multiple of NUM_HEADS and of 4 (B 768, L 1024, H 1280)
_C.MODEL.ENCODER.DEPTH = 12  # blocks (B 12, L 24, H 32)
_C.MODEL.ENCODER.NUM_HEADS = 12  # attention heads of a block (B 12, L 16, H 16)
_C.MODEL.DECODER = CN()
_C.MODEL.DECODER.EMBED_DIM = 512  # width of a token (Table 1b: 512)
_C.MODEL.DECODER.DEPTH = 8  # blocks (Table 1a: 8; 1 is nearly as good for fine-tuning)
_C.MODEL.DECODER.NUM_HEADS = 16  # attention heads of a block

_C.TRAIN = CN()
_C.TRAIN.NUM_EPOCHS = 800  # passes over the images (Table 1: 800; Figure 7: 1600 is the paper's longest)
_C.TRAIN.WARMUP_EPOCHS = 40  # epochs in which the learning rate rises linearly from WARMUP_START_LR (Table 8: 40)
_C.TRAIN.BASE_LR = 1.5e-4  # learning rate for an effective batch of LINEAR_SCALED_LR images (Table 8)
_C.TRAIN.LINEAR_SCALED_LR = 256  # images that BASE_LR is for (appendix A.1); None: BASE_LR is the learning rate itself
_C.TRAIN.WARMUP_START_LR = 0.0  # learning rate of the first step
_C.TRAIN.END_LR = 0.0  # learning rate at the end of the cosine
_C.TRAIN.WEIGHT_DECAY = 0.05  # of weight matrices; biases, norms and tokens have none (Table 8: 0.05)
_C.TRAIN.GRAD_CLIP = None  # largest norm of all gradients together; None: any
_C.TRAIN.ACCUM_ITER = 1  # forward passes per update
_C.TRAIN.SHARD_OPTIMIZER = False  # each rank keeps a share of Adam's moments: less memory, one more exchange a step
_C.TRAIN.OPTIMIZER = CN()
_C.TRAIN.OPTIMIZER.NAME = "AdamW"  # AdamWDL is AdamW here, without layer decay
_C.TRAIN.OPTIMIZER.EPS = 1e-8  # number added to the root of the second moment
_C.TRAIN.OPTIMIZER.BETAS = (0.9, 0.95)  # decays of the two moments (Table 8)

_C.MONITOR = CN()
_C.MONITOR.EVERY = 0  # epochs between looks at held-out loss, pictures, RankMe and, with labels, kNN; 0: never
_C.MONITOR.VAL_IMAGES = 2000  # images of the validation list that are scored, at most
_C.MONITOR.TRAIN_IMAGES = 10000  # training images that kNN compares them with, at most
_C.MONITOR.PICTURES = 8  # reconstructions drawn to SAVE/monitor

_C.SAVE = None  # run folder (log, config, checkpoints); None: the next free runs/NAME-NUMBER
_C.SAVE_FREQ = 1  # epochs between checkpoints
_C.SAVE_KEEP = 2  # checkpoints to keep
_C.REPORT_FREQ = 20  # steps between log lines
_C.LOGGERS = []  # boards beside log.jsonl: "tensorboard", "visualdl", "wandb"
_C.SEED = 0  # it decides initial weights, order, crops and masks
_C.EVAL = False  # score MODEL.PRETRAINED on the validation list, no training
_C.AMP = False  # mixed precision; on a CPU in matrix products, where it multiplies bfloat16 by itself
_C.AMP_DTYPE = "bfloat16"  # what AMP computes in; "float16" (GPU only) has loss scaling


_DECODER = ("MODEL.DECODER.EMBED_DIM", "MODEL.DECODER.DEPTH", "MODEL.DECODER.NUM_HEADS")
_MONITOR = ("MONITOR.VAL_IMAGES", "MONITOR.TRAIN_IMAGES", "MONITOR.PICTURES")
_CHOICES = {"MODEL.TYPE": ("PRETRAIN",), "MODEL.MASKING": MASKINGS, "TRAIN.OPTIMIZER.NAME": OPTIMIZERS}
LIMITS = (
    COMMON
    | ADAM
    | Limits(choices=_CHOICES, positive=(*_DECODER, "DATA.REPEATS", *_MONITOR), ranges={"MONITOR.EVERY": (0, 10**9)})
)


def validate(c: CN) -> None:
    """Check what the model, the data path and the loop rely on."""
    LIMITS.require(c)
    require_common(c)
    require_adam(c)
    require(
        c.DATA.BATCH_SIZE % c.DATA.REPEATS == 0,
        f"DATA.REPEATS={c.DATA.REPEATS} does not divide DATA.BATCH_SIZE={c.DATA.BATCH_SIZE}; use a divisor of it",
    )
    require(
        0 < c.MODEL.MASK_RATIO < 1,
        f"MODEL.MASK_RATIO={c.MODEL.MASK_RATIO} is outside (0, 1); the paper's is 0.75",
    )


RECIPE = Recipe("mae_pretrain", _C, OTHER_TYPES, validate, LIMITS)
