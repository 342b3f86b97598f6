"""The fine-tuning recipe: every key with its default (Base, Table 9 and the official settings), and what must hold.

Keys and meanings are those of PaddleViT's MAE configs, so its fine-tuning YAML files load as they are.
"""

from mae_core.stage.config.checks import (
    has_8_bit_pictures,
    require,
    require_adam,
    require_classifier,
    require_common,
    require_none_or,
)
from mae_core.stage.config.limits import ADAM, CLASSIFIER, COMMON, Limits
from mae_core.stage.config.node import Config as CN
from mae_core.stage.config.recipe import OTHER_TYPES, Recipe
from mae_data.sources.class_file import count_classes

OPTIMIZERS = ("AdamW", "AdamWDL")  # the names in mae_finetune.optimizer.BUILDERS, which needs Paddle

_C = CN()

_C.DATA = CN()
_C.DATA.DATASET = "imagenet2012"  # the only name; what DATA_PATH is decides where images come from
_C.DATA.DATA_PATH = "/dataset/imagenet/"  # folder with lists, or without any
_C.DATA.TRAIN_LIST = "train_list.txt"  # lines of `PATH [LABEL]`, below DATA_PATH
_C.DATA.VAL_LIST = "val_list.txt"  # the same for validation and -eval
_C.DATA.ALLOW_OUTSIDE = False  # whether lists may name absolute paths and `..`; links below DATA_PATH always work
_C.DATA.CLASS_NAMES = None  # file of a name per line, below DATA_PATH or from here; None: classes.txt or folders
_C.DATA.BATCH_SIZE = 32  # images per rank and forward pass
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
_C.DATA.ON_ERROR = "skip"  # a bad image: "skip" passes over it, "raise" ends the run; -eval never skips
_C.DATA.MAX_BAD = 100  # images that are passed over, at most; more than half of a list are too many in any case

_C.MODEL = CN()
_C.MODEL.TYPE = "FINETUNE"  # the stage; no other is taken
_C.MODEL.NAME = "vit_base_patch16_224"  # a label; the keys below make the model
_C.MODEL.PRETRAINED = None  # weights to start from, or to evaluate
_C.MODEL.CHANNELS_FROM = None  # adapt PRETRAINED to other IMAGE_CHANNELS: "repeat", "mean" or "first" of its channels
_C.MODEL.RESUME = None  # run folder or checkpoint to go on from; "auto": SAVE, or anew where it holds none
_C.MODEL.NUM_CLASSES = 1000  # outputs of the head; by default as many as DATA_PATH names (classes.txt, folders)
_C.MODEL.PATCH_SIZE = 16  # pixels, the side of a square patch; it divides IMAGE_SIZE
_C.MODEL.MLP_RATIO = 4.0  # width of a block's MLP over its own
_C.MODEL.QKV_BIAS = True  # whether query, key and value have biases, as ViT's have
_C.MODEL.DROPOUT = 0.0  # MAE's ViT has none; the key is read for the sake of older files
_C.MODEL.ATTENTION_DROPOUT = 0.0  # MAE's ViT has none; the key is read for the sake of older files
_C.MODEL.DROPPATH = 0.1  # stochastic depth: probability of dropping the last block's branches, less below (Table 9)
_C.MODEL.GLOBAL_POOL = True  # classify the mean of the patch tokens; False: the class token
_C.MODEL.GRAD_CHECKPOINTING = False  # recompute activations: less memory, more time
_C.MODEL.ENCODER = CN()
_C.MODEL.ENCODER.EMBED_DIM = 768  # width of a token; a multiple of NUM_HEADS and of 4 (B 768, L 1024, H 1280)
_C.MODEL.ENCODER.DEPTH = 12  # blocks (B 12, L 24, H 32)
_C.MODEL.ENCODER.NUM_HEADS = 12  # attention heads of a block (B 12, L 16, H 16)

_C.TRAIN = CN()
_C.TRAIN.NUM_EPOCHS = 100  # passes over the images (Table 9: 100 for B, 50 for L and H)
_C.TRAIN.WARMUP_EPOCHS = 5  # epochs in which the learning rate rises linearly from WARMUP_START_LR (Table 9: 5)
_C.TRAIN.BASE_LR = 5e-4  # learning rate for an effective batch of LINEAR_SCALED_LR images (Table 9: 1e-3)
_C.TRAIN.LINEAR_SCALED_LR = 256  # images that BASE_LR is for (appendix A.1); None: BASE_LR is the learning rate itself
_C.TRAIN.WARMUP_START_LR = 0.0  # learning rate of the first step
_C.TRAIN.END_LR = 1e-6  # learning rate at the end of the cosine
_C.TRAIN.WEIGHT_DECAY = 0.05  # of weight matrices; biases, norms and tokens have none (Table 9: 0.05)
_C.TRAIN.LAYER_DECAY = 0.65  # learning rate of a layer over that of the next; None: the same for all
_C.TRAIN.PARTIAL = None  # train the last so many blocks only; 0.5: the last MLP, 0: the head alone
_C.TRAIN.GRAD_CLIP = None  # largest norm of all gradients together; None: any
_C.TRAIN.ACCUM_ITER = 1  # forward passes per update
_C.TRAIN.SHARD_OPTIMIZER = False  # each rank keeps a share of Adam's moments: less memory, one more exchange a step
_C.TRAIN.EMA = None  # decay of averaged weights (0.9999); validation and -pretrained then take the averages
_C.TRAIN.CLASS_WEIGHTS = None  # "balanced": a class counts in the loss as images over (classes * its images)
_C.TRAIN.BEST_BY = "top1"  # figure of the `best` checkpoint: balanced_accuracy, macro_f1, auroc, val_loss (the lowest)
_C.TRAIN.OPTIMIZER = CN()
_C.TRAIN.OPTIMIZER.NAME = "AdamW"  # AdamWDL is PaddleNLP's (extra paddlenlp); the steps are the same
_C.TRAIN.OPTIMIZER.EPS = 1e-8  # number added to the root of the second moment
_C.TRAIN.OPTIMIZER.BETAS = (0.9, 0.999)  # decays of the two moments (Table 9)
_C.TRAIN.SMOOTHING = 0.1  # label smoothing (Table 9)
_C.TRAIN.RAND_AUGMENT = True  # whether RandAugment is applied to training images (Table 9: (9, 0.5))
_C.TRAIN.RAND_AUGMENT_LAYERS = 2  # RandAugment's operations per image
_C.TRAIN.RAND_AUGMENT_MAGNITUDE = 9  # strength of RandAugment's operations (Table 9)
_C.TRAIN.RAND_AUGMENT_STD = 0.5  # deviation of that strength from image to image (Table 9)
_C.TRAIN.RANDOM_ERASE_PROB = 0.25  # part of the training images in which a box is erased
_C.TRAIN.RANDOM_ERASE_MODE = "pixel"  # what fills an erased box; the only kind: noise per pixel
_C.TRAIN.RANDOM_ERASE_COUNT = 1  # erased boxes per image, at most
_C.TRAIN.RANDOM_ERASE_SPLIT = False  # whether the first of several views stays whole; no views are made here
_C.TRAIN.MIXUP_ALPHA = 0.8  # of mixup's Beta distribution (Table 9); 0: no mixup
_C.TRAIN.MIXUP_PROB = 1.0  # probability of mixing at all, by mixup or cutmix
_C.TRAIN.MIXUP_SWITCH_PROB = 0.5  # probability of cutmix rather than mixup, where both are on
_C.TRAIN.MIXUP_MODE = "batch"  # what one draw is for: all of a batch, each "pair", each "elem"
_C.TRAIN.CUTMIX_ALPHA = 1.0  # of cutmix's Beta distribution (Table 9); 0: no cutmix
_C.TRAIN.CUTMIX_MINMAX = None  # range of a box's sides; the only value, None: boxes are drawn by CUTMIX_ALPHA

_C.ROBUST = CN()  # -eval on other test sets than the validation list
_C.ROBUST.CLASS_MAP = None  # file of `CLASS_FOLDER OUTPUT` lines: labels by folder name, other outputs do not count
_C.ROBUST.CORRUPTIONS = False  # the list's paths begin with CORRUPTION/SEVERITY/ (ImageNet-C): report mCE
_C.ROBUST.ALEXNET_ERRORS = None  # YAML file of `corruption: error` that mCE divides by; None: AlexNet's, published

_C.SAVE = None  # run folder (log, config, checkpoints, best; eval/ of -eval); None: the next free runs/NAME-NUMBER
_C.SAVE_FREQ = 1  # epochs between checkpoints; each validation makes one too
_C.SAVE_KEEP = 2  # checkpoints to keep, beside the best
_C.VALIDATE_FREQ = 1  # epochs between validations; 0: none
_C.REPORT_FREQ = 20  # steps between log lines
_C.LOGGERS = []  # boards beside log.jsonl: "tensorboard", "visualdl", "wandb"
_C.SEED = 0  # it decides initial weights, order, crops and masks
_C.EVAL = False  # score MODEL.PRETRAINED on the validation list, no training
_C.AMP = False  # mixed precision; on a CPU in matrix products, where it multiplies bfloat16 by itself
_C.AMP_DTYPE = "bfloat16"  # what AMP computes in; "float16" (GPU only) has loss scaling

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


LIMITS = COMMON | ADAM | CLASSIFIER | Limits(_CHOICES, ("TRAIN.RANDOM_ERASE_COUNT",), _RANGES)


def validate(c: CN) -> None:
    """Check what the model, the data path and the loop rely on."""
    LIMITS.require(c)
    require_common(c)
    require_adam(c)
    require_classifier(c)
    require_none_or(c, "TRAIN.LAYER_DECAY", lambda v: 0 < v <= 1, "a factor above 0 and up to 1")
    require_none_or(c, "TRAIN.EMA", lambda v: 0 < v < 1, "a decay between 0 and 1 (0.9999)")
    depth = c.MODEL.ENCODER.DEPTH
    blocks = f"0, 0.5 or a number of blocks up to MODEL.ENCODER.DEPTH={depth}"
    require_none_or(c, "TRAIN.PARTIAL", lambda v: v == 0.5 or v in range(depth + 1), blocks)
    for key in ("DROPOUT", "ATTENTION_DROPOUT"):
        require(c.MODEL[key] == 0, f"MODEL.{key}={c.MODEL[key]} is not 0: MAE's ViT has none; use MODEL.DROPPATH")


def validate_training(c: CN) -> None:
    """Check what training alone relies on: a classifier is scored, asked and exported without it."""
    if c.EVAL:
        return
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


def mixes(c: CN) -> bool:
    """Tell whether training images are mixed."""
    t = c.TRAIN
    return bool(t.MIXUP_PROB > 0 and (t.MIXUP_ALPHA > 0 or t.CUTMIX_ALPHA > 0))


_OTHER_TYPES = {
    **OTHER_TYPES,
    "TRAIN.LAYER_DECAY": type(None),
    "DATA.CLASS_NAMES": str,
    "TRAIN.CLASS_WEIGHTS": str,
    "ROBUST.CLASS_MAP": str,
    "ROBUST.ALEXNET_ERRORS": str,
}
RECIPE = Recipe("mae_finetune", _C, _OTHER_TYPES, validate, LIMITS, count_classes, validate_training)
