"""The keys that stages share: what each means and takes, once. Their values are stated by each stage."""

from mae_core.stage.config.keys import NO_END, Shared

SHARED = {
    "DATA.DATA_PATH": Shared("folder with lists, or without any"),
    "DATA.TRAIN_LIST": Shared("lines of `PATH [LABEL]`, below DATA_PATH"),
    "DATA.VAL_LIST": Shared("the same for validation and -eval"),
    "DATA.ALLOW_OUTSIDE": Shared(
        "whether lists may name absolute paths and `..`; links below DATA_PATH always work",
    ),
    "DATA.BATCH_SIZE": Shared("images per rank and forward pass", positive=True),
    "DATA.BATCH_SIZE_EVAL": Shared("images per rank in validation and -eval; None: BATCH_SIZE"),
    "DATA.IMAGE_SIZE": Shared("pixels, a number or [height, width]", also=list),
    "DATA.IMAGE_CHANNELS": Shared("3 colour, 1 grey, or as many as each image has", range=(1, 4096)),
    "DATA.BANDS": Shared(
        "those that are taken of each image, in this order: numbers from 0 or the file's names; None: all", also=list
    ),
    "DATA.EXIF": Shared(
        "turn photographs upright, by their EXIF tag; False: as stored, as published ImageNet figures were"
    ),
    "DATA.NODATA": Shared(
        'what stands for no data, and becomes the mean: a number, "nan", or "file": what each file says; None: nothing'
    ),
    "DATA.VALUE_RANGE": Shared(
        "white of 8-bit integers, above 255 of 16-bit ones (65535), or [low, high] of floats", also=list
    ),
    "DATA.IMAGENET_MEAN": Shared("one number per channel, 0 and 1 the ends of VALUE_RANGE", range=(0, 1)),
    "DATA.IMAGENET_STD": Shared("one number per channel; pixels are normalised as (value - mean) / std", positive=True),
    "DATA.CROP_PCT": Shared("evaluation: part of the shorter side that is shown; None: 0.875, above 224 pixels 1.0"),
    "DATA.CROP_SCALE": Shared("training: area range of the random resized crop", positive=True, range=(0, 1)),
    "DATA.HFLIP": Shared("training: probability of a horizontal flip", range=(0, 1)),
    "DATA.VFLIP": Shared("training: probability of a vertical flip", range=(0, 1)),
    "DATA.ROTATE90": Shared(
        "training: turn by 0, 90, 180 or 270 degrees, each as likely: images from above, or of cells"
    ),
    "DATA.NUM_WORKERS": Shared("loader processes per rank", range=(0, 1024)),
    "DATA.TIMEOUT": Shared("seconds that a batch may take before the run ends; 0: for ever", range=(0, NO_END)),
    "DATA.DECODER": Shared(
        'JPEG: Pillow\'s pixels, or "fast": large photographs are halved while they are decoded',
        choices=("exact", "fast"),
    ),
    "DATA.ON_ERROR": Shared(
        'a bad image: "skip" passes over it, "raise" ends the run; -eval never skips',
        choices=("raise", "skip"),
    ),
    "DATA.MAX_BAD": Shared(
        "images that are passed over, at most; more than half of a list are too many in any case", range=(0, NO_END)
    ),
    "MODEL.NAME": Shared("a label of your own; None: what the sizes below are called", also=str),
    "MODEL.PRETRAINED": Shared("weights to start from, or to evaluate", also=str),
    "MODEL.CHANNELS_FROM": Shared(
        'adapts PRETRAINED to other IMAGE_CHANNELS: "repeat", "mean" or "first" of its channels',
        also=str,
        choices=(None, "repeat", "mean", "first"),
    ),
    "MODEL.RESUME": Shared(
        'run folder or checkpoint to go on from; "auto": SAVE, or anew where it holds none', also=str
    ),
    "MODEL.NUM_CLASSES": Shared(
        "outputs of the head; by default as many as DATA_PATH names (classes.txt, folders)", positive=True
    ),
    "MODEL.PATCH_SIZE": Shared("pixels, the side of a square patch; it divides IMAGE_SIZE", positive=True),
    # With widths that are multiples of 4, a quarter is at least one hidden unit.
    "MODEL.MLP_RATIO": Shared("width of a block's MLP over its own", range=(0.25, 1000)),
    "MODEL.QKV_BIAS": Shared("whether query, key and value have biases, as ViT's have"),
    "MODEL.DROPPATH": Shared(
        "stochastic depth: probability of dropping the last block's branches, less below", range=(0, 0.999)
    ),
    "MODEL.GRAD_CHECKPOINTING": Shared("recompute activations: less memory, more time"),
    "MODEL.ENCODER.EMBED_DIM": Shared(
        "width of a token; a multiple of NUM_HEADS and of 4 (B 768, L 1024, H 1280)", positive=True
    ),
    "MODEL.ENCODER.DEPTH": Shared("blocks (B 12, L 24, H 32)", positive=True),
    "MODEL.ENCODER.NUM_HEADS": Shared("attention heads of a block (B 12, L 16, H 16)", positive=True),
    "TRAIN.NUM_EPOCHS": Shared("passes over the images, of which the last may be a part", also=float, positive=True),
    "TRAIN.WARMUP_EPOCHS": Shared(
        "epochs in which the learning rate rises linearly from WARMUP_START_LR", also=float, range=(0, NO_END)
    ),
    "TRAIN.BASE_LR": Shared("learning rate for an effective batch of LINEAR_SCALED_LR images", positive=True),
    "TRAIN.LINEAR_SCALED_LR": Shared(
        "images that BASE_LR is for (appendix A.1); None: BASE_LR is the learning rate itself", also=type(None)
    ),
    "TRAIN.WARMUP_START_LR": Shared("learning rate of the first step", range=(0, NO_END)),
    "TRAIN.END_LR": Shared("learning rate at the end", range=(0, NO_END)),
    "TRAIN.WEIGHT_DECAY": Shared(
        "of weight matrices, in pre-training of class and mask tokens too; biases and norms have none", range=(0, 1)
    ),
    "TRAIN.GRAD_CLIP": Shared("largest norm of all gradients together; None: any"),
    "TRAIN.ACCUM_ITER": Shared("forward passes per update", positive=True),
    "TRAIN.CLASS_WEIGHTS": Shared(
        '"balanced": a class counts in the loss as images over (classes * its images)',
        also=str,
        choices=(None, "balanced"),
    ),
    "TRAIN.BEST_BY": Shared(
        "figure that makes the `best` checkpoint, of a loss or an error the lowest; None: the first of the task (top1)",
        also=str,
    ),
    "TRAIN.SHARD_OPTIMIZER": Shared(
        "each rank keeps a share of Adam's moments: less memory, one more exchange a step",
    ),
    "TRAIN.OPTIMIZER.EPS": Shared("number added to the root of the second moment", positive=True),
    "TRAIN.OPTIMIZER.BETAS": Shared("decays of the two moments", range=(0, 0.999999)),
    "SAVE": Shared(
        "run folder (log, config, checkpoints, best; eval/ of -eval); None: the next free runs/NAME-NUMBER", also=str
    ),
    "SAVE_FREQ": Shared("epochs between checkpoints; each validation makes one too", positive=True),
    "SAVE_KEEP": Shared("checkpoints to keep, beside the best", positive=True),
    "VALIDATE_FREQ": Shared("epochs between validations; 0: none", range=(0, NO_END)),
    "REPORT_FREQ": Shared("steps between log lines, at most: fewer where a run would have under 40", positive=True),
    "LOGGERS": Shared('boards beside log.jsonl: "tensorboard", "visualdl", "wandb"'),
    "SEED": Shared("it decides initial weights, order, crops and masks", range=(0, 2**32 - 1)),
    "EVAL": Shared("score MODEL.PRETRAINED on the validation list, no training"),
    "AMP": Shared("mixed precision; on a CPU in matrix products, where it multiplies bfloat16 by itself"),
    "AMP_DTYPE": Shared('what AMP computes in; "float16" (GPU only) has loss scaling', choices=("bfloat16", "float16")),
}
