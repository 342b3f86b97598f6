"""The pre-training recipe: every key with its default (Base, Table 8), and what must hold between keys.

Keys and meanings are those of PaddleViT's MAE configs, so its pre-training YAML files load as they are.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from yacs.config import CfgNode as CN

from mae_core.config import get_key, merge_file, merge_mapping, merge_pairs, set_key
from mae_core.errors import ConfigError

Config = CN  # what other modules call it

_C = CN()

_C.DATA = CN()
_C.DATA.DATASET = "imagenet2012"  # the only kind: list files under DATA_PATH
_C.DATA.DATA_PATH = "/dataset/imagenet/"  # holds train_list.txt, val_list.txt and the images
_C.DATA.TRAIN_LIST = "train_list.txt"
_C.DATA.VAL_LIST = "val_list.txt"
_C.DATA.BATCH_SIZE = 256  # images a rank and forward pass
_C.DATA.IMAGE_SIZE = 224  # pixels, a number or [height, width]
_C.DATA.IMAGE_CHANNELS = 3  # 3 colour, 1 grey
_C.DATA.IMAGENET_MEAN = [0.485, 0.456, 0.406]  # in [0, 1]; one number a channel
_C.DATA.IMAGENET_STD = [0.229, 0.224, 0.225]
_C.DATA.CROP_PCT = 0.875  # evaluation: part of the shorter side that the centre crop shows
_C.DATA.CROP_SCALE = [0.2, 1.0]  # training: area range of the random resized crop
_C.DATA.HFLIP = 0.5  # training: probability of a horizontal flip
_C.DATA.NUM_WORKERS = 2  # loader processes a rank
_C.DATA.ON_ERROR = "raise"  # an unreadable image: "raise" ends the run, "skip" takes another image

_C.MODEL = CN()
_C.MODEL.TYPE = "PRETRAIN"
_C.MODEL.NAME = "vit_base_patch16_224"  # a label; the keys below make the model
_C.MODEL.PRETRAINED = None  # weights to start from, or to evaluate
_C.MODEL.RESUME = None  # run folder or checkpoint to go on from; "auto" means SAVE
_C.MODEL.PATCH_SIZE = 16
_C.MODEL.MLP_RATIO = 4.0
_C.MODEL.QKV_BIAS = True
_C.MODEL.DROPPATH = 0.0
_C.MODEL.MASK_RATIO = 0.75
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

_C.SAVE = "./output"  # run folder: log.jsonl, config.yaml, checkpoints/
_C.SAVE_FREQ = 1  # epochs between checkpoints
_C.SAVE_KEEP = 2  # checkpoints to keep
_C.REPORT_FREQ = 20  # steps between log lines
_C.SEED = 0
_C.EVAL = False  # score MODEL.PRETRAINED on the validation list, no training
_C.AMP = False  # mixed precision (GPU)
_C.AMP_DTYPE = "bfloat16"  # or "float16", with loss scaling

_ALSO: dict[str, type] = {"DATA.IMAGE_SIZE": list, "TRAIN.LINEAR_SCALED_LR": type(None)}

# What a resumed run may change: where things are and how it is watched, not what is computed.
FREE_ON_RESUME = (
    *(
        "SAVE",
        "SAVE_FREQ",
        "SAVE_KEEP",
        "REPORT_FREQ",
        "EVAL",
        "MODEL.RESUME",
        "MODEL.PRETRAINED",
        "MODEL.NAME",
    ),
    *("DATA.DATA_PATH", "DATA.NUM_WORKERS", "MODEL.GRAD_CHECKPOINTING"),
)


def find_config(name: str) -> Path:
    """Return a config file of the user's, or the packaged one of that name."""
    path = Path(name)
    if path.is_file():
        return path
    packaged = {Path(str(f)).name: Path(str(f)) for f in resources.files("mae_pretrain").joinpath("configs").iterdir()}
    file_name = path.name if path.suffix else f"{path.name}.yaml"
    if file_name not in packaged:
        known = ", ".join(sorted(n for n in packaged if n.endswith(".yaml")))
        raise ConfigError(f"config {name} does not exist; give a YAML file or one of {known}")
    return packaged[file_name]


def load_config(cfg: str | None = None, flags: dict[str, Any] | None = None, pairs: Sequence[str] = ()) -> CN:
    """Build the frozen config: defaults, then the file, then flags, then `KEY VALUE` pairs.

    Raises:
        ConfigError: a key, a value, or what must hold between them.
    """
    config = _C.clone()
    if cfg:
        merge_file(config, find_config(cfg), _ALSO)
    return _finish(config, flags or {}, pairs)


def from_dict(saved: dict[str, Any], flags: dict[str, Any]) -> CN:
    """Build the frozen config that a checkpoint holds, with flags on top."""
    config = _C.clone()
    merge_mapping(config, saved, "checkpoint", _ALSO)
    return _finish(config, flags, ())


def _finish(config: CN, flags: dict[str, Any], pairs: Sequence[str]) -> CN:
    for key, value in flags.items():
        set_key(config, key, value, _ALSO)
    merge_pairs(config, pairs, _ALSO)
    validate(config)
    config.freeze()
    return config


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def validate(c: CN) -> None:
    """Check what the model, the data path and the loop rely on."""
    sides = [c.DATA.IMAGE_SIZE] if isinstance(c.DATA.IMAGE_SIZE, int) else c.DATA.IMAGE_SIZE
    _require(
        len(sides) in (1, 2) and all(isinstance(s, int) and s > 0 for s in sides),
        f"DATA.IMAGE_SIZE={sides} is not one or two sizes",
    )
    for side in sides:
        _require(
            side % c.MODEL.PATCH_SIZE == 0,
            f"DATA.IMAGE_SIZE={side} is not divisible by MODEL.PATCH_SIZE={c.MODEL.PATCH_SIZE};"
            f" use a multiple of {c.MODEL.PATCH_SIZE}",
        )
    for key, allowed in _CHOICES.items():
        value = get_key(c, key)
        _require(value in allowed, f"{key}={value!r} is not one of {', '.join(map(repr, allowed))}")
    _require(
        c.TRAIN.OPTIMIZER.NAME in ("AdamW", "AdamWDL"),  # AdamWDL without layer decay is AdamW
        f"TRAIN.OPTIMIZER.NAME={c.TRAIN.OPTIMIZER.NAME!r} is not 'AdamW' (or 'AdamWDL', the same here)",
    )
    _require(
        0 < c.MODEL.MASK_RATIO < 1,
        f"MODEL.MASK_RATIO={c.MODEL.MASK_RATIO} is outside (0, 1); the paper's is 0.75",
    )
    clip = c.TRAIN.GRAD_CLIP
    _require(
        clip is None or (isinstance(clip, int | float) and clip > 0),
        f"TRAIN.GRAD_CLIP={clip!r} is not positive or None",
    )
    _require(
        c.DATA.NUM_WORKERS >= 0, f"DATA.NUM_WORKERS={c.DATA.NUM_WORKERS} is negative; 0 reads in the training process"
    )
    _require(0 <= c.SEED < 2**32, f"SEED={c.SEED} is outside 0 to 2**32 - 1")
    for key in _POSITIVE:
        _require(get_key(c, key) > 0, f"{key}={get_key(c, key)} is not positive")
    _require(
        c.TRAIN.WARMUP_EPOCHS <= c.TRAIN.NUM_EPOCHS,
        f"TRAIN.WARMUP_EPOCHS={c.TRAIN.WARMUP_EPOCHS} is more than TRAIN.NUM_EPOCHS={c.TRAIN.NUM_EPOCHS}",
    )


_CHOICES = {
    "DATA.DATASET": ("imagenet2012",),
    "DATA.IMAGE_CHANNELS": (1, 3),
    "DATA.ON_ERROR": ("raise", "skip"),
    "MODEL.TYPE": ("PRETRAIN",),
    "AMP_DTYPE": ("bfloat16", "float16"),
}
_POSITIVE = (
    *("DATA.BATCH_SIZE", "MODEL.PATCH_SIZE", "TRAIN.NUM_EPOCHS", "TRAIN.BASE_LR", "TRAIN.ACCUM_ITER"),
    *("SAVE_FREQ", "SAVE_KEEP", "REPORT_FREQ"),
)
