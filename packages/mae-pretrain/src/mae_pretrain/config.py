"""The pre-training recipe: every key with its default (Base, Table 8), and what must hold between keys.

What the plain values mean stands in `mae_core.stage.config.shared_keys`, and `mae-pretrain --help-config` prints it
beside them. Keys and meanings are those of PaddleViT's MAE configs, so its pre-training YAML files load as they are.
"""

from mae_core.stage.config.checks import require, require_adam, require_common, require_none_or
from mae_core.stage.config.keys import NO_END, Key, keys_of
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import Recipe
from mae_core.stage.config.shared_keys import SHARED

# The names in mae_core.ops.STRATEGIES and mae_pretrain.optimizers.choice.BUILDERS, which need Paddle.
MASKINGS = ("random", "block")
DECODERS = ("full", "cross")
SCHEDULES = ("cosine", "wsd")
OPTIMIZERS = ("AdamW", "AdamWDL", "Muon")  # AdamWDL without layer decay is AdamW

KEYS = keys_of(
    {
        "DATA": {
            "DATA_PATH": "/dataset/imagenet/",
            "TRAIN_LIST": "train_list.txt",
            "VAL_LIST": "val_list.txt",
            "ALLOW_OUTSIDE": False,
            "BATCH_SIZE": 256,
            "IMAGE_SIZE": 224,
            "IMAGE_CHANNELS": 3,
            "BANDS": None,
            "EXIF": True,
            "NODATA": None,
            "VALUE_RANGE": 255,
            "IMAGENET_MEAN": [0.485, 0.456, 0.406],
            "IMAGENET_STD": [0.229, 0.224, 0.225],
            "CROP_PCT": Key(0.875, "evaluation: part of the shorter side that the centre crop shows"),
            "CROP": Key(
                "resized",
                'training: random resized crops, or "native": IMAGE_SIZE pixels of the image, as it is (scenes)',
                choices=("resized", "native"),
            ),
            "CROPS": Key(1, "samples of each image in an epoch: of few large scenes, many", positive=True),
            "CROP_SCALE": [0.2, 1.0],
            "HFLIP": 0.5,
            "VFLIP": 0.0,
            "ROTATE90": False,
            "REPEATS": Key(
                1,
                "crops and masks of each decoded image, as MAE-ST and Hiera: another recipe, faster to load",
                positive=True,
            ),
            "NUM_WORKERS": 2,
            "TIMEOUT": 300.0,
            "DECODER": "exact",
            "ON_ERROR": "skip",
            "MAX_BAD": 100,
        },
        "MODEL": {
            "TYPE": Key("PRETRAIN", "the stage; no other is taken", choices=("PRETRAIN",)),
            "NAME": None,
            "PRETRAINED": None,
            "CHANNELS_FROM": None,
            "RESUME": None,
            "PATCH_SIZE": 16,
            "MLP_RATIO": 4.0,
            "QKV_BIAS": True,
            "DROPPATH": Key(0.0, source="not used"),
            "MASK_RATIO": Key(0.75, "part of the patches that is removed", "Figure 5; section 4.1"),
            "MASKING": Key(
                "random",
                'which patches go: any, or "block": rectangles, best at a ratio of 0.5',
                "Table 1f",
                choices=MASKINGS,
            ),
            "NORM_PIX_LOSS": Key(
                True, "predict pixels normalised within each patch", "Table 1d: +0.5 points of fine-tuning"
            ),
            "GRAD_CHECKPOINTING": False,
            "ENCODER": {"EMBED_DIM": 768, "DEPTH": 12, "NUM_HEADS": 12},
            "DECODER": {
                "KIND": Key(
                    "full",
                    'the paper\'s, or "cross": removed patches see visible ones only, and some are left out',
                    "cross: CrossMAE, arXiv 2401.14391, of depth 12",
                    choices=DECODERS,
                ),
                "PREDICTED": Key(
                    0.25,
                    "share of all patches that a cross decoder predicts in training, at most MASK_RATIO",
                    "CrossMAE: 0.25 or 0.75",
                ),
                "EMBED_DIM": Key(512, "width of a token", "Table 1b: 512", positive=True),
                "DEPTH": Key(8, "blocks", "Table 1a: 8; 1 is nearly as good for fine-tuning", positive=True),
                "NUM_HEADS": Key(16, "attention heads of a block", positive=True),
            },
        },
        "TRAIN": {
            "NUM_EPOCHS": Key(800, source="Table 1: 800; Figure 7: 1600 is the paper's longest"),
            "WARMUP_EPOCHS": Key(40, source="Table 8: 40"),
            "BASE_LR": Key(1.5e-4, source="Table 8"),
            "LINEAR_SCALED_LR": 256,
            "SCHEDULE": Key(
                "cosine",
                'how the learning rate falls, or "wsd": it stays at its peak and falls over the last DECAY of the run',
                choices=SCHEDULES,
            ),
            "DECAY": Key(
                0.2, "of wsd: part of the run in which the learning rate falls; 0: it does not", range=(0, 0.9)
            ),
            "ANNEAL": Key(
                0,
                "of wsd: the step from which the learning rate falls, as --anneal sets it; the run ends with that fall,"
                " whatever NUM_EPOCHS says",
                also=bool,
            ),
            "WARMUP_START_LR": 0.0,
            "END_LR": 0.0,
            "WEIGHT_DECAY": Key(0.05, source="Table 8: 0.05"),
            "GRAD_CLIP": None,
            "ACCUM_ITER": 1,
            "SHARD_OPTIMIZER": False,
            "EMA": Key(None, "decay of averaged weights (0.9999); the monitor and -pretrained then take the averages"),
            "OPTIMIZER": {
                "NAME": Key(
                    "AdamW",
                    "AdamWDL is AdamW here; Muon: orthogonal updates for the blocks' matrices",
                    choices=OPTIMIZERS,
                ),
                "EPS": 1e-8,
                "BETAS": Key((0.9, 0.95), source="Table 8"),
            },
        },
        "MONITOR": {
            "EVERY": Key(
                0,
                "epochs between looks at held-out loss, pictures, RankMe and, with labels, kNN; 0: never",
                range=(0, NO_END),
            ),
            "VAL_IMAGES": Key(2000, "images of the validation list that are scored, at most", positive=True),
            "TRAIN_IMAGES": Key(10000, "training images that kNN compares them with, at most", positive=True),
            "PICTURES": Key(8, "reconstructions drawn to SAVE/monitor", positive=True),
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
    require(
        c.DATA.BATCH_SIZE % c.DATA.REPEATS == 0,
        f"DATA.REPEATS={c.DATA.REPEATS} does not divide DATA.BATCH_SIZE={c.DATA.BATCH_SIZE}; use a divisor of it",
    )
    require_none_or(c, "TRAIN.EMA", lambda v: 0 < v < 1, "a decay between 0 and 1 (0.9999)")
    require_annealing(c)
    require(
        0 < c.MODEL.MASK_RATIO < 1,
        f"MODEL.MASK_RATIO={c.MODEL.MASK_RATIO} is outside (0, 1); the paper's is 0.75",
    )


def require_annealing(c: Config) -> None:
    """Require what --anneal relies on."""
    anneal, t = c.TRAIN.ANNEAL, c.TRAIN
    if anneal is False or anneal == 0:
        return
    require(
        anneal is not True, "--anneal (TRAIN.ANNEAL) ends another run: name it, or a checkpoint of it, with -resume"
    )
    require(anneal > 0, f"TRAIN.ANNEAL={anneal} is not a step of the resumed run")
    require(
        t.SCHEDULE == "wsd",
        f"--anneal (TRAIN.ANNEAL={anneal}) is for runs of TRAIN.SCHEDULE wsd, and this one is of {t.SCHEDULE!r}: end it"
        " sooner by TRAIN.NUM_EPOCHS",
    )
    require(
        t.DECAY > 0,
        f"--anneal (TRAIN.ANNEAL={anneal}) needs a part of the run in which the learning rate falls: TRAIN.DECAY 0.2",
    )


def validate_training(c: Config) -> None:
    """Check what is predicted in training; scores and pictures are of all removed patches."""
    share, mask_ratio, masking = c.MODEL.DECODER.PREDICTED, c.MODEL.MASK_RATIO, c.MODEL.MASKING
    if c.EVAL or c.MODEL.DECODER.KIND == "full":
        return
    require(
        0 < share <= mask_ratio,
        f"MODEL.DECODER.PREDICTED={share} is not above 0 and at most MODEL.MASK_RATIO={mask_ratio}: what is predicted"
        " is removed",
    )
    require(
        masking == "random" or share == mask_ratio,
        f"MODEL.MASKING={masking} orders removed patches by their place, so none may be left out; set"
        f" MODEL.DECODER.PREDICTED {mask_ratio}, as MODEL.MASK_RATIO, or MODEL.MASKING random",
    )


RECIPE = Recipe("mae_pretrain", KEYS, validate, validate_training=validate_training, chosen=("auto",))
