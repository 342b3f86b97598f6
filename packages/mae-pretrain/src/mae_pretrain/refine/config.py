"""The recipe of refinement (MIM-Refiner, arXiv 2402.10093): every key, and what must hold between keys."""

from mae_core.stage.config.checks import require, require_adam, require_common, require_none_or
from mae_core.stage.config.keys import NO_END, Key, keys_of
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import Recipe
from mae_core.stage.config.shared_keys import SHARED

PAPER = "MIM-Refiner"

KEYS = keys_of(
    {
        "DATA": {
            "DATA_PATH": "/dataset/imagenet/",
            "TRAIN_LIST": "train_list.txt",
            "VAL_LIST": "val_list.txt",
            "ALLOW_OUTSIDE": False,
            "BATCH_SIZE": Key(128, "images per rank and forward pass, each in VIEWS views; 1024 over all ranks", PAPER),
            "VIEWS": Key(2, "random crops of each image that are drawn to each other", PAPER, range=(2, 16)),
            "IMAGE_SIZE": 224,
            "IMAGE_CHANNELS": 3,
            "BANDS": None,
            "EXIF": True,
            "NODATA": None,
            "VALUE_RANGE": 255,
            "IMAGENET_MEAN": [0.485, 0.456, 0.406],
            "IMAGENET_STD": [0.229, 0.224, 0.225],
            "CROP_PCT": None,
            "CROP_SCALE": Key([0.25, 1.0], "area range of a view's random resized crop", PAPER),
            "JITTER": Key(
                0.0,
                "how far a view's brightness is bent and dimmed, all bands alike: gamma up to exp(JITTER) or 1 over it",
                "not of the paper",
                range=(0, 1),
            ),
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
            "TYPE": Key("REFINE", "the stage; no other is taken", choices=("REFINE",)),
            "NAME": None,
            "PRETRAINED": Key(None, "the run, or weights, whose encoder is refined"),
            "CHANNELS_FROM": None,
            "RESUME": None,
            "PATCH_SIZE": 16,
            "MLP_RATIO": 4.0,
            "QKV_BIAS": True,
            "DROPPATH": Key(0.0, source="not used"),
            "MASK_RATIO": Key(
                0.0,
                "part of the patches that each view lacks: cheaper, and another augmentation",
                "not of the paper",
                range=(0, 0.95),
            ),
            "GRAD_CHECKPOINTING": False,
            "ENCODER": {"EMBED_DIM": 768, "DEPTH": 12, "NUM_HEADS": 12},
            "HEADS": {
                "NUMBER": Key(
                    None, "blocks, from the last down, with a head each; None: a third of them", PAPER, also=int
                ),
                "DIM": Key(256, "width of a projection", PAPER, positive=True),
                "PROJECTOR_DIM": Key(2048, "hidden width of the projector, of three layers", PAPER, positive=True),
                "PREDICTOR_DIM": Key(4096, "hidden width of the predictor, of two layers", PAPER, positive=True),
                "QUEUE": Key(
                    65536,
                    "projections that each head remembers; at most as many as there are images",
                    PAPER,
                    positive=True,
                ),
                "NEIGHBOURS": Key(
                    20, "most similar ones of the queue that a neighbour is drawn from", PAPER, positive=True
                ),
                "TEMPERATURE": Key(0.2, "what cosines are divided by", PAPER, positive=True),
            },
        },
        "TRAIN": {
            "NUM_EPOCHS": Key(50, source="MIM-Refiner: 20 of the heads alone, then 30"),
            "HEADS_EPOCHS": Key(20, "the first ones, in which the encoder stays as it is", PAPER, range=(0, NO_END)),
            "WARMUP_EPOCHS": Key(4, source="MIM-Refiner; of both stages, at most half of each"),
            "WARMUP_START_LR": 0.0,
            "BASE_LR": Key(4e-4, source="MIM-Refiner: 4e-4 for a batch of 1024"),
            "HEADS_LR": Key(2e-4, "BASE_LR of the first stage", PAPER, positive=True),
            "LINEAR_SCALED_LR": 1024,
            "END_LR": 0.0,
            "WEIGHT_DECAY": Key(0.05, source="MIM-Refiner"),
            "HEADS_WEIGHT_DECAY": Key(1e-5, "that of the heads", PAPER, range=(0, 1)),
            "LAYER_DECAY": Key(
                0.65, "learning rate of a layer over that of the next", PAPER, positive=True, range=(0, 1)
            ),
            "EMA": Key(
                0.9999,
                "decay of averaged weights of the encoder, which are the result; None: its weights",
                PAPER,
                also=type(None),
            ),
            "GRAD_CLIP": None,
            "ACCUM_ITER": 1,
            "OPTIMIZER": {"EPS": 1e-8, "BETAS": Key((0.9, 0.95), source="MIM-Refiner")},
        },
        "MONITOR": {
            "EVERY": Key(0, "epochs between looks at RankMe and, with labels, kNN; 0: never", range=(0, NO_END)),
            "VAL_IMAGES": Key(2000, "images of the validation list that are looked at, at most", positive=True),
            "TRAIN_IMAGES": Key(10000, "training images that kNN compares them with, at most", positive=True),
        },
        "SAVE": Key(None, "run folder (log, config, checkpoints); None: the next free runs/NAME-NUMBER"),
        "SAVE_FREQ": Key(1, "epochs between checkpoints"),
        "SAVE_KEEP": Key(2, "checkpoints to keep"),
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
    depth = c.MODEL.ENCODER.DEPTH
    require_none_or(c, "MODEL.HEADS.NUMBER", lambda v: 1 <= v <= depth, f"a number of blocks up to {depth}")
    require_none_or(c, "TRAIN.EMA", lambda v: 0 < v < 1, "a decay between 0 and 1 (0.9999)")
    require(
        c.DATA.BATCH_SIZE > 1,
        "DATA.BATCH_SIZE=1 leaves nothing to tell an image from; use 2 or more, such as 128",
    )
    require(
        c.TRAIN.HEADS_EPOCHS <= c.TRAIN.NUM_EPOCHS,
        f"TRAIN.HEADS_EPOCHS={c.TRAIN.HEADS_EPOCHS} is more than TRAIN.NUM_EPOCHS={c.TRAIN.NUM_EPOCHS}, which counts"
        " both stages",
    )
    require(not c.EVAL, "refine scores nothing; `mae-probe knn` scores features")


RECIPE = Recipe("mae_pretrain.refine", KEYS, validate)
