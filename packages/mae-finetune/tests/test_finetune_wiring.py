"""Every key of the config arrives where it counts."""

import pytest
from stage_wiring import (
    CLASSIFIER,
    assert_evaluation_is_wired,
    assert_every_key_is_wired,
    assert_frequency_zero_validates_never,
    assert_seed_decides_weights,
    put_together,
    wire,
)

from mae_core.errors import ConfigError
from mae_finetune.build import build_model
from mae_finetune.config import OPTIMIZERS, RECIPE
from mae_finetune.optimizer import BUILDERS


def transform(wired):
    return wired.loader.dataset.transform


def mixer(wired):
    return wired.trainer.loss_fn.args[0]


def rates(wired):
    """Return the share of the learning rate by layer, of what is trained."""
    named = [(name.split("."), p) for name, p in wired.model.named_parameters() if not p.stop_gradient]
    return {parts[1] if parts[0] == "blocks" else parts[0]: p.optimize_attr["learning_rate"] for parts, p in named}


WIRES = {
    **CLASSIFIER,
    "DATA.IMAGENET_MEAN": CLASSIFIER["DATA.IMAGENET_MEAN"].also(lambda w: transform(w).mean, lambda w: mixer(w).mean),
    "DATA.IMAGENET_STD": CLASSIFIER["DATA.IMAGENET_STD"].also(lambda w: transform(w).std, lambda w: mixer(w).std),
    "DATA.CROP_SCALE": wire([0.3, 0.6], lambda w: transform(w).crop.scale),
    "DATA.HFLIP": wire(0.2, lambda w: transform(w).crop.hflip),
    "DATA.VFLIP": wire(0.3, lambda w: transform(w).crop.vflip),
    "DATA.ROTATE90": wire(True, lambda w: transform(w).crop.rotate90),
    "SEED": CLASSIFIER["SEED"].also(lambda w: mixer(w).seed),
    "MODEL.NUM_CLASSES": CLASSIFIER["MODEL.NUM_CLASSES"].also(lambda w: mixer(w).num_classes),
    "MODEL.DROPPATH": wire(0.2, lambda w: [b.drop_path.rate for b in w.model.blocks], arrives=[0.0, 0.1, 0.2]),
    "MODEL.GLOBAL_POOL": wire(False, lambda w: w.model.global_pool),
    "MODEL.GRAD_CHECKPOINTING": wire(True, lambda w: w.model.grad_checkpointing),
    "TRAIN.SHARD_OPTIMIZER": wire(True, lambda w: w.trainer.shard_optimizer),
    "TRAIN.WEIGHT_DECAY": wire(0.07, lambda w: w.trainer.optimizer._weight_decay),
    "TRAIN.OPTIMIZER.EPS": wire(1e-5, lambda w: w.trainer.optimizer._epsilon),
    "TRAIN.OPTIMIZER.BETAS": wire((0.7, 0.8), lambda w: (w.trainer.optimizer._beta1, w.trainer.optimizer._beta2)),
    "TRAIN.LAYER_DECAY": wire(0.5, rates, arrives={"1": 0.25, "2": 0.5, "norm": 1.0, "head": 1.0}),
    "TRAIN.PARTIAL": wire(2, lambda w: len(rates(w)) - 2),  # beside norm and head
    "TRAIN.EMA": wire(0.8, lambda w: w.trainer.ema.decay),
    "TRAIN.SMOOTHING": wire(0.3, lambda w: mixer(w).smoothing),
    "TRAIN.RAND_AUGMENT_LAYERS": wire(3, lambda w: transform(w).rand_augment.num_ops),
    "TRAIN.RAND_AUGMENT_MAGNITUDE": wire(4, lambda w: transform(w).rand_augment.magnitude),
    "TRAIN.RAND_AUGMENT_STD": wire(0.8, lambda w: transform(w).rand_augment.magnitude_std),
    "TRAIN.RANDOM_ERASE_PROB": wire(0.6, lambda w: transform(w).random_erasing.prob),
    "TRAIN.RANDOM_ERASE_COUNT": wire(3, lambda w: transform(w).random_erasing.max_count),
    "TRAIN.MIXUP_ALPHA": wire(0.4, lambda w: mixer(w).mixup.mixup_alpha),
    "TRAIN.CUTMIX_ALPHA": wire(0.6, lambda w: mixer(w).mixup.cutmix_alpha),
    "TRAIN.MIXUP_PROB": wire(0.9, lambda w: mixer(w).mixup.prob),
    "TRAIN.MIXUP_SWITCH_PROB": wire(0.2, lambda w: mixer(w).mixup.switch_prob),
    "TRAIN.MIXUP_MODE": wire("elem", lambda w: mixer(w).mixup.mode),
}
del WIRES["DATA.VALUE_RANGE"]  # RandAugment knows 8 bits only
# Tested below, by what it does to images (test_finetune_loss.py), by the scores of a set (test_finetune_run.py), and by
# what a class is called (test_predict.py).
ELSEWHERE = {
    *("MODEL.TASK", "TRAIN.OPTIMIZER.NAME", "TRAIN.RAND_AUGMENT", "DATA.VALUE_RANGE", "DATA.CLASS_NAMES"),
    *("ROBUST.CLASS_MAP", "ROBUST.CORRUPTIONS", "ROBUST.ALEXNET_ERRORS"),
    *("MODEL.HEAD", "MODEL.HEAD_CHANNELS", "DATA.IGNORE", "DATA.SCALE_JITTER"),  # test_segmentation_wiring.py
}


@pytest.fixture(scope="module")
def wired(tmp_path_factory):
    return put_together(RECIPE, WIRES, tmp_path_factory.mktemp("wired"))


@pytest.mark.parametrize("key", WIRES)
def test_the_value_arrives(wired, key):
    WIRES[key].check(wired)


def test_validation_passes_over_bad_images_where_training_does(wired, tmp_path):
    assert wired.eval_loader.dataset.on_error == "raise"
    skipping = put_together(RECIPE, WIRES | {"DATA.ON_ERROR": wire("skip")}, tmp_path)
    assert skipping.eval_loader.dataset.on_error == "drop"
    assert skipping.trainer.validation.skipped == skipping.eval_loader.dataset.skipped


def test_evaluation_reads_the_same_keys(tmp_path):
    assert_evaluation_is_wired(RECIPE, WIRES, tmp_path, "load_for_evaluation")


def test_frequency_zero_validates_never(tmp_path):
    assert_frequency_zero_validates_never(RECIPE, WIRES, tmp_path)


def test_no_key_is_left_out():
    assert_every_key_is_wired(RECIPE, WIRES, ELSEWHERE)


def test_the_seed_decides_the_initial_weights():
    assert_seed_decides_weights(build_model, RECIPE, WIRES)


def test_the_optimizers_name_chooses_it_with_the_same_settings(monkeypatch, tmp_path):
    chosen = []
    monkeypatch.setattr("mae_finetune.optimizer.bridged_class", lambda: lambda **settings: chosen.append(settings))
    monkeypatch.setattr("mae_finetune.optimizer.find_spec", lambda name: object())
    put_together(RECIPE, WIRES | {"TRAIN.OPTIMIZER.NAME": wire("AdamWDL")}, tmp_path)
    (settings,) = chosen
    wanted = {"weight_decay": 0.07, "epsilon": 1e-5, "beta1": 0.7, "beta2": 0.8, "layerwise_decay": 0.5}
    assert wanted.items() <= settings.items()


def test_the_config_names_the_optimizers_that_can_be_built():
    assert set(OPTIMIZERS) == set(BUILDERS)


def test_the_value_range_arrives_where_nothing_is_made_for_8_bits(tmp_path):
    rand_augment = {key: wire for key, wire in WIRES.items() if "RAND_AUGMENT" not in key}
    values = {"TRAIN.RAND_AUGMENT": wire(False), "DATA.VALUE_RANGE": wire(65535)}
    wired = put_together(RECIPE, rand_augment | values, tmp_path)
    assert wired.loader.dataset.limits.high == wired.eval_loader.dataset.limits.high == wired.model.value_span == 65535
    assert mixer(wired).value_range == 65535
    with pytest.raises(ConfigError, match=r"TRAIN\.RAND_AUGMENT=True works on 8-bit images .* set it to False"):
        RECIPE.load(pairs=["DATA.VALUE_RANGE", "65535"])
    with pytest.raises(ConfigError, match=r"DATA\.IMAGE_CHANNELS=5; set it to False"):
        RECIPE.load(pairs=["DATA.IMAGE_CHANNELS", "5"])
    assert RECIPE.load(pairs=["DATA.VALUE_RANGE", "65535", "EVAL", "True"]).EVAL  # nothing is augmented


NO_DROP, NO_MIXUP, NO_CUTMIX = {"MODEL.DROPPATH": 0.0}, {"TRAIN.MIXUP_ALPHA": 0.0}, {"TRAIN.CUTMIX_ALPHA": 0.0}
NEVER_MIXED = {"TRAIN.MIXUP_PROB": 0.0}


@pytest.mark.parametrize(
    ("values", "free"),
    [
        (NO_DROP, False),
        (NEVER_MIXED, False),
        (NO_DROP | NEVER_MIXED, True),
        (NO_DROP | NO_MIXUP, False),
        (NO_DROP | NO_CUTMIX, False),
        (NO_DROP | NO_MIXUP | NO_CUTMIX, True),
    ],
)
def test_a_batch_may_be_cut_otherwise_where_nothing_is_drawn_for_it(tmp_path, values, free):
    wires = WIRES | {key: wire(value) for key, value in values.items()}
    assert put_together(RECIPE, wires, tmp_path).begin["free_cut"] == free
