"""The recipe: defaults are the paper's, contradictions are refused."""

from importlib import resources

import pytest

from mae_core.errors import ConfigError
from mae_core.stage.config.to_arguments import plan_of, schedule_of
from mae_pretrain.config import RECIPE


@pytest.mark.parametrize(
    ("name", "encoder", "decoder_depth", "patch"),
    [
        ("vit_base_patch16_224_pretrain", (768, 12, 12), 8, 16),
        ("vit_large_patch16_224_pretrain", (1024, 24, 16), 8, 16),
        ("vit_huge_patch14_224_pretrain", (1280, 32, 16), 8, 14),
        ("vit_base_patch16_224_pretrain_dec1", (768, 12, 12), 1, 16),
        ("vit_base_patch16_224_pretrain_cross", (768, 12, 12), 12, 16),
    ],
)
@pytest.mark.parametrize("spelling", ["./configs/{}.yaml", "{}.yaml", "{}"])
def test_packaged_recipes_are_the_papers(name, encoder, decoder_depth, patch, spelling):
    c = RECIPE.load(spelling.format(name))
    assert encoder == (c.MODEL.ENCODER.EMBED_DIM, c.MODEL.ENCODER.DEPTH, c.MODEL.ENCODER.NUM_HEADS)
    decoder = c.MODEL.DECODER
    assert (512, decoder_depth, 16) == (decoder.EMBED_DIM, decoder.DEPTH, decoder.NUM_HEADS)
    assert ("cross" if name.endswith("cross") else "full", 0.25) == (decoder.KIND, decoder.PREDICTED)
    t = c.TRAIN
    assert (t.BASE_LR, t.LINEAR_SCALED_LR, t.WEIGHT_DECAY, t.NUM_EPOCHS, t.WARMUP_EPOCHS) == (
        1.5e-4,
        256,
        0.05,
        800,
        40,
    )
    assert (t.OPTIMIZER.NAME, t.OPTIMIZER.EPS, t.OPTIMIZER.BETAS, t.END_LR, t.GRAD_CLIP) == (
        "AdamW",
        1e-8,
        (0.9, 0.95),
        0,
        None,
    )
    assert (0.75, True, 0.0, patch) == (c.MODEL.MASK_RATIO, c.MODEL.NORM_PIX_LOSS, c.MODEL.DROPPATH, c.MODEL.PATCH_SIZE)
    assert (c.DATA.IMAGE_SIZE, c.DATA.CROP_SCALE, c.DATA.HFLIP) == (224, [0.2, 1.0], 0.5)


def test_every_packaged_file_loads():
    names = [f.name for f in resources.files("mae_pretrain").joinpath("configs").iterdir() if f.name.endswith(".yaml")]
    assert len(names) >= 5
    for name in names:
        RECIPE.load(name)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("DATA.IMAGE_SIZE 225", ["DATA.IMAGE_SIZE=225 is not divisible by MODEL.PATCH_SIZE=16", "multiple of 16"]),
        ("DATA.IMAGE_SIZE [224,100]", ["100 is not divisible"]),
        ("MODEL.TYPE FINETUNE", ["MODEL.TYPE='FINETUNE'", "'PRETRAIN'"]),
        ("MODEL.MASK_RATIO 1.0", ["MODEL.MASK_RATIO=1.0", "(0, 1)"]),
        ("MODEL.MASKING stripes", ["MODEL.MASKING='stripes'", "'random', 'block'"]),
        ("MODEL.DECODER.KIND crossed", ["MODEL.DECODER.KIND='crossed'", "'full', 'cross'"]),
        ("MODEL.DECODER.KIND cross MODEL.DECODER.PREDICTED 0.8", ["PREDICTED=0.8", "MODEL.MASK_RATIO=0.75"]),
        ("MODEL.DECODER.KIND cross MODEL.DECODER.PREDICTED 0.0", ["PREDICTED=0.0", "above 0"]),
        ("MODEL.DECODER.KIND cross MODEL.MASKING block", ["MODEL.MASKING=block", "set MODEL.DECODER.PREDICTED 0.75"]),
        ("DATA.BATCH_SIZE 0", ["DATA.BATCH_SIZE=0", "positive"]),
        ("DATA.NUM_WORKERS -1", ["DATA.NUM_WORKERS=-1", "outside 0 to 1024"]),
        ("TRAIN.GRAD_CLIP none", ["TRAIN.GRAD_CLIP='none'"]),
        ("SEED -1", ["SEED=-1"]),
        ("TRAIN.EMA 1.0", ["TRAIN.EMA=1.0", "0.9999"]),
        ("TRAIN.SCHEDULE linear", ["'linear'", "'cosine', 'wsd'"]),
        ("TRAIN.DECAY 1.0", ["TRAIN.DECAY=1.0", "outside 0 to 0.9"]),
        ("TRAIN.ANNEAL -3", ["TRAIN.ANNEAL=-3 is not a step"]),
        ("DATA.DATASET cifar", ["DATA.DATASET='cifar'", "'imagenet2012'"]),
        ("TRAIN.OPTIMIZER.NAME SGD", ["'SGD'", "'AdamW'"]),
        ("TRAIN.NUM_EPOCHS 3", ["TRAIN.WARMUP_EPOCHS=40", "TRAIN.NUM_EPOCHS=3"]),
        ("AMP_DTYPE int8", ["'int8'", "'bfloat16'"]),
        ("MODEL.MASK_RATO 0.5", ["MODEL.MASK_RATO", "nearest is MODEL.MASK_RATIO"]),
    ],
)
def test_contradictions_are_refused_in_words(pairs, words):
    with pytest.raises(ConfigError) as error:
        RECIPE.load(pairs=pairs.split())
    for word in words:
        assert word in str(error.value)


def test_flags_win_over_the_file_and_pairs_over_flags(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("DATA: {BATCH_SIZE: 1, NUM_WORKERS: 1}\nTRAIN: {ACCUM_ITER: 1}\n")
    config = RECIPE.load(str(path), {"DATA.BATCH_SIZE": 2, "TRAIN.ACCUM_ITER": 2}, ["TRAIN.ACCUM_ITER", "3"])
    assert (config.DATA.NUM_WORKERS, config.DATA.BATCH_SIZE, config.TRAIN.ACCUM_ITER) == (1, 2, 3)
    with pytest.raises(AttributeError):
        config.SEED = 1


def test_unknown_config_lists_the_packaged_ones():
    with pytest.raises(ConfigError, match=r"vit_base_patch16_224_pretrain\.yaml"):
        RECIPE.load("vit_giant")


def test_a_run_may_end_within_an_epoch():
    part = RECIPE.load(None, {"TRAIN.NUM_EPOCHS": 1.5, "TRAIN.WARMUP_EPOCHS": 0.5})
    assert plan_of(part, 10).total_steps == 15
    rate_at = schedule_of(part, plan_of(part, 10))
    assert [round(rate_at(epoch) / rate_at(0.5), 6) for epoch in (0.25, 0.5, 1.0, 1.5)] == [0.5, 1.0, 0.5, 0.0]
    least = RECIPE.load(None, {"TRAIN.NUM_EPOCHS": 0.001, "TRAIN.WARMUP_EPOCHS": 0})
    assert plan_of(least, 10).total_steps == 1
