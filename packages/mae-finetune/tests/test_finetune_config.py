"""The recipes: defaults are the published ones, contradictions are refused."""

from importlib import resources

import pytest

from mae_core.errors import ConfigError
from mae_finetune.config import RECIPE

SIZES = {"base": (16, 768, 12, 12), "large": (16, 1024, 24, 16), "huge": (14, 1280, 32, 16)}
FINETUNE = {"base": (100, 5e-4, 0.65, 0.1), "large": (50, 1e-3, 0.75, 0.2), "huge": (50, 1e-3, 0.75, 0.3)}
SCRATCH = {"base": (300, 0.1), "large": (200, 0.2), "huge": (200, 0.2)}


def load(size, kind):
    config = RECIPE.load(f"./configs/vit_{size}_patch{SIZES[size][0]}_224_{kind}.yaml")
    m = config.MODEL
    assert SIZES[size] == (m.PATCH_SIZE, m.ENCODER.EMBED_DIM, m.ENCODER.DEPTH, m.ENCODER.NUM_HEADS)
    assert (m.GLOBAL_POOL, m.NUM_CLASSES, config.DATA.IMAGE_SIZE) == (True, 1000, 224)
    t = config.TRAIN
    assert (t.MIXUP_ALPHA, t.CUTMIX_ALPHA, t.MIXUP_PROB, t.MIXUP_SWITCH_PROB) == (0.8, 1.0, 1.0, 0.5)
    assert (t.SMOOTHING, t.RAND_AUGMENT_LAYERS, t.RAND_AUGMENT_MAGNITUDE, t.RAND_AUGMENT_STD) == (0.1, 2, 9, 0.5)
    assert (t.LINEAR_SCALED_LR, t.END_LR, t.OPTIMIZER.EPS, t.GRAD_CLIP) == (256, 1e-6, 1e-8, None)
    return config


@pytest.mark.parametrize("size", SIZES)
def test_finetuning_recipes_are_the_published_ones(size):
    c = load(size, "finetune")
    t = c.TRAIN
    assert FINETUNE[size] == (t.NUM_EPOCHS, t.BASE_LR, t.LAYER_DECAY, c.MODEL.DROPPATH)
    assert (t.WARMUP_EPOCHS, t.WEIGHT_DECAY, t.OPTIMIZER.BETAS, t.EMA, t.PARTIAL) == (5, 0.05, (0.9, 0.999), None, None)
    assert (t.RANDOM_ERASE_PROB, t.RANDOM_ERASE_COUNT) == (0.25, 1)
    assert (c.DATA.CROP_SCALE, c.DATA.HFLIP, t.OPTIMIZER.NAME) == ([0.08, 1.0], 0.5, "AdamW")


@pytest.mark.parametrize("size", SIZES)
def test_scratch_recipes_are_table_11s(size):
    c = load(size, "scratch")
    t = c.TRAIN
    assert SCRATCH[size] == (t.NUM_EPOCHS, c.MODEL.DROPPATH)
    assert (t.BASE_LR, t.WEIGHT_DECAY, t.OPTIMIZER.BETAS, t.WARMUP_EPOCHS) == (1e-4, 0.3, (0.9, 0.95), 20)
    assert (t.EMA, t.LAYER_DECAY) == (0.9999, None)


def test_every_packaged_file_loads():
    folder = resources.files("mae_finetune").joinpath("configs")
    names = [f.name for f in folder.iterdir() if f.name.endswith(".yaml")]
    assert len(names) >= 7
    for name in names:
        RECIPE.load(name)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("DATA.IMAGE_SIZE 225", ["DATA.IMAGE_SIZE=225 is not divisible by MODEL.PATCH_SIZE=16", "multiple of 16"]),
        ("MODEL.TYPE PRETRAIN", ["MODEL.TYPE='PRETRAIN'", "'FINETUNE'"]),
        ("MODEL.DROPOUT 0.1", ["MODEL.DROPOUT=0.1", "use MODEL.DROPPATH"]),
        ("TRAIN.PARTIAL 0.7", ["TRAIN.PARTIAL=0.7", "up to MODEL.ENCODER.DEPTH=12", "None"]),
        ("TRAIN.PARTIAL 13", ["TRAIN.PARTIAL=13"]),
        ("TRAIN.PARTIAL True", ["TRAIN.PARTIAL=True"]),
        ("TRAIN.EMA 1.0", ["TRAIN.EMA=1.0", "0.9999"]),
        ("TRAIN.EMA much", ["TRAIN.EMA='much'"]),
        ("TRAIN.LAYER_DECAY 1.5", ["TRAIN.LAYER_DECAY=1.5", "up to 1"]),
        ("DATA.CROP_PCT 0", ["DATA.CROP_PCT=0 is not"]),
        ("DATA.BATCH_SIZE 31", ["DATA.BATCH_SIZE=31 is odd", "even batch"]),
        ("TRAIN.MIXUP_PROB 2", ["TRAIN.MIXUP_PROB=2.0 is outside 0 to 1"]),
        ("TRAIN.MIXUP_MODE image", ["'image'", "'batch', 'pair', 'elem'"]),
        ("TRAIN.CUTMIX_MINMAX [0.2,0.8]", ["TRAIN.CUTMIX_MINMAX=[0.2, 0.8]", "None"]),
        ("TRAIN.RANDOM_ERASE_MODE const", ["'const'", "'pixel'"]),
        ("TRAIN.OPTIMIZER.NAME SGD", ["'SGD'", "'AdamW', 'AdamWDL'"]),
        ("TRAIN.NUM_EPOCHS 3", ["TRAIN.WARMUP_EPOCHS=5", "TRAIN.NUM_EPOCHS=3"]),
        ("TRAIN.SMOTHING 0.5", ["TRAIN.SMOTHING", "nearest is TRAIN.SMOOTHING"]),
    ],
)
def test_contradictions_are_refused_in_words(pairs, words):
    with pytest.raises(ConfigError) as error:
        RECIPE.load(pairs=pairs.split())
    for word in words:
        assert word in str(error.value)


def test_an_odd_batch_is_fine_where_nothing_is_mixed():
    RECIPE.load(pairs=["DATA.BATCH_SIZE", "31", "TRAIN.MIXUP_PROB", "0"])
    RECIPE.load(pairs=["TRAIN.PARTIAL", "0.5"])
