"""Every YAML file of PaddleViT's MAE folder loads with its stage, and each of its keys means what it says there."""

import ast
from importlib import import_module
from typing import Any

import pytest
import yaml

from mae_core.stage.config import foreign_keys
from mae_core.stage.config.node import flatten, get_key

# Keys and values of the eleven files, as written: `5e-4`, `(0.9, 0.95)` and `None` are text to YAML.
DATA = {"DATA.IMAGE_SIZE": 224, "DATA.CROP_PCT": 0.875}
MODEL = {"MODEL.MLP_RATIO": 4.0, "MODEL.QKV_BIAS": True}
ENCODERS = {  # patch size, width, depth, heads
    "base": (16, 768, 12, 12),
    "large": (16, 1024, 24, 16),
    "huge": (14, 1280, 32, 16),
}
PRETRAIN = {
    "MODEL.TYPE": "PRETRAIN",
    "MODEL.DROPPATH": 0.0,
    "MODEL.MASK_RATIO": 0.75,
    "MODEL.DECODER.EMBED_DIM": 512,
    "MODEL.DECODER.DEPTH": 8,
    "MODEL.DECODER.NUM_HEADS": 16,
    "MODEL.NORM_PIX_LOSS": True,
    "TRAIN.NUM_EPOCHS": 800,
    "TRAIN.WARMUP_EPOCHS": 40,
    "TRAIN.WEIGHT_DECAY": 0.05,
    "TRAIN.BASE_LR": 1.5e-4,
    "TRAIN.END_LR": 0.0,
    "TRAIN.LINEAR_SCALED_LR": 256,
    "TRAIN.GRAD_CLIP": "None",
    "TRAIN.ACCUM_ITER": 1,
    "TRAIN.OPTIMIZER.NAME": "AdamW",
    "TRAIN.OPTIMIZER.BETAS": "(0.9, 0.95)",
}
FINETUNE = {
    "MODEL.TYPE": "FINETUNE",
    "MODEL.GLOBAL_POOL": True,
    "TRAIN.WARMUP_EPOCHS": 5,
    "TRAIN.WEIGHT_DECAY": 0.05,
    "TRAIN.LINEAR_SCALED_LR": 256,
    "TRAIN.END_LR": "1e-6",
    "TRAIN.ACCUM_ITER": 1,
    "TRAIN.OPTIMIZER.NAME": "AdamWDL",
    "TRAIN.OPTIMIZER.BETAS": "(0.9, 0.999)",
    "TRAIN.SMOOTHING": 0.1,
    "TRAIN.RAND_AUGMENT": True,
    "TRAIN.RAND_AUGMENT_LAYERS": 2,
    "TRAIN.RAND_AUGMENT_MAGNITUDE": 9,
    "TRAIN.MIXUP_ALPHA": 0.8,
    "TRAIN.MIXUP_PROB": 1.0,
    "TRAIN.MIXUP_SWITCH_PROB": 0.5,
    "TRAIN.MIXUP_MODE": "batch",
    "TRAIN.CUTMIX_ALPHA": 1.0,
    "TRAIN.CUTMIX_MINMAX": "None",
    "TRAIN.RANDOM_ERASE_PROB": 0.25,
    "TRAIN.RANDOM_ERASE_MODE": "pixel",
    "TRAIN.RANDOM_ERASE_COUNT": 1,
    "TRAIN.RANDOM_ERASE_SPLIT": False,
    "VALIDATE_FREQ": 1,
    "SAVE_FREQ": 10,
    "REPORT_FREQ": 100,
}
LINEARPROBE = {
    "MODEL.TYPE": "LINEARPROBE",
    "MODEL.GLOBAL_POOL": False,
    "TRAIN.NUM_EPOCHS": 90,
    "TRAIN.WARMUP_EPOCHS": 10,
    "TRAIN.WEIGHT_DECAY": 0.0,
    "TRAIN.BASE_LR": 0.1,
    "TRAIN.LINEAR_SCALED_LR": 256,
    "TRAIN.END_LR": 0.0,
    "TRAIN.ACCUM_ITER": 1,
    "TRAIN.OPTIMIZER.NAME": "LARS",
}
FINETUNE_BY_SIZE = {  # epochs, base rate, layer decay, drop path
    "base": (100, "5e-4", 0.65, 0.1),
    "large": (50, "1e-3", 0.75, 0.2),
    "huge": (50, "1e-3", 0.75, 0.3),
}
OTHERS = {
    "pretrain_dec1": ("base", "mae_pretrain", PRETRAIN, {
        "MODEL.DECODER.DEPTH": 1, "TRAIN.OPTIMIZER.NAME": "AdamWDL", "SAVE_FREQ": 1,
    }),
    "linearprobe_single_node": ("base", "mae_probe", LINEARPROBE, {"TRAIN.ACCUM_ITER": 4}),
}  # fmt: skip


def files() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return package and keys of each file."""
    found = {}
    for size in ENCODERS:
        tuned = ("TRAIN.NUM_EPOCHS", "TRAIN.BASE_LR", "TRAIN.LAYER_DECAY", "MODEL.DROPPATH")
        of_size = dict(zip(tuned, FINETUNE_BY_SIZE[size], strict=True))
        found[f"{size}_pretrain"] = "mae_pretrain", keys(size, PRETRAIN)
        found[f"{size}_finetune"] = "mae_finetune", keys(size, FINETUNE | of_size)
        found[f"{size}_linearprobe"] = "mae_probe", keys(size, LINEARPROBE)
    for name, (size, package, common, own) in OTHERS.items():
        found[f"{size}_{name}"] = package, keys(size, common | own)
    return found


def keys(size: str, own: dict[str, Any]) -> dict[str, Any]:
    encoder = ("MODEL.PATCH_SIZE", "MODEL.ENCODER.EMBED_DIM", "MODEL.ENCODER.DEPTH", "MODEL.ENCODER.NUM_HEADS")
    name = {"MODEL.NAME": f"vit_{size}_patch{ENCODERS[size][0]}_224"}
    return DATA | MODEL | name | dict(zip(encoder, ENCODERS[size], strict=True)) | own


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, last = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return tree


def meaning(value: Any) -> Any:
    """Read what the predecessor's config reader (yacs) makes of a text."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value


@pytest.mark.parametrize("name", files())
def test_a_file_loads_and_means_the_same(tmp_path, name: str) -> None:
    package, flat = files()[name]
    text = yaml.safe_dump(nested(flat)).replace("'", "")  # the quotes that safe_dump puts around such text
    path = tmp_path / "vit.yaml"
    path.write_text(text)
    assert flatten(yaml.safe_load(text)) == flat
    recipe = import_module(f"{package}.config").RECIPE
    config = recipe.load(str(path))
    for key, value in flat.items():
        if key in foreign_keys.KEYS - recipe.keys.keys():
            continue
        assert (key, get_key(config, key)) == (key, meaning(value))
        assert type(get_key(config, key)) is type(meaning(value))


def test_there_are_eleven_files() -> None:
    assert len(files()) == 11
