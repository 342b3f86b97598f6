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

from mae_data.transforms.crops import draw_single_crop
from mae_probe.build import build_model, train_dataset
from mae_probe.config import OPTIMIZERS, RECIPE
from mae_probe.optimizer import BUILDERS

WIRES = {
    **CLASSIFIER,
    "DATA.CROP_SCALE": wire([0.3, 0.6], lambda w: w.loader.dataset.transform.scale),
    "DATA.HFLIP": wire(0.2, lambda w: w.loader.dataset.transform.hflip),
    "DATA.VFLIP": wire(0.3, lambda w: w.loader.dataset.transform.vflip),
    "DATA.ROTATE90": wire(True, lambda w: w.loader.dataset.transform.rotate90),
    "MODEL.GLOBAL_POOL": wire(True, lambda w: w.model.global_pool),
    "TRAIN.WEIGHT_DECAY": wire(0.07, lambda w: w.trainer.optimizer.decay),
    "TRAIN.OPTIMIZER.MOMENTUM": wire(0.7, lambda w: w.trainer.optimizer.momentum),
    "TRAIN.OPTIMIZER.TRUST": wire(0.02, lambda w: w.trainer.optimizer.trust),
}
HEAD = {"MODEL.HEAD", "MODEL.NUM_QUERIES", "MODEL.BLOCK"}  # read below
# One choice; below and in test_probe_run.py; in test_kept_features.py.
ELSEWHERE = {"TRAIN.OPTIMIZER.NAME", "TRAIN.CACHE_FEATURES", "NO_CACHE"}


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
    assert_evaluation_is_wired(RECIPE, WIRES, tmp_path, "load_probe")


def test_frequency_zero_validates_never(tmp_path):
    assert_frequency_zero_validates_never(RECIPE, WIRES, tmp_path)


def test_no_key_is_left_out():
    assert_every_key_is_wired(RECIPE, WIRES, HEAD | ELSEWHERE | {"MODEL.RANDOM_INIT"})  # test_features.py


def test_the_seed_decides_the_initial_weights():
    assert_seed_decides_weights(build_model, RECIPE, WIRES)


def test_the_crop_is_byols(wired):
    assert wired.loader.dataset.transform.draw_crop is draw_single_crop
    assert wired.loader.dataset.transform.ratio == (3 / 4, 4 / 3)


def test_the_heads_keys_arrive():
    values = {key: w.value for key, w in WIRES.items()} | {"MODEL.GLOBAL_POOL": False, "MODEL.NUM_QUERIES": 4}
    assert not build_model(RECIPE.load(None, values)).takes_tokens
    model = build_model(RECIPE.load(None, values | {"MODEL.HEAD": "attentive"}))
    assert (model.takes_tokens, model.head.pool.num_queries) == (True, 4)
    assert len(build_model(RECIPE.load(None, values | {"MODEL.BLOCK": -2})).blocks) == 2  # of 3


def test_the_config_names_the_optimizers_that_can_be_built():
    assert set(OPTIMIZERS) == set(BUILDERS)


def test_cached_features_are_of_the_evaluation_crop_of_the_training_list(wired, tmp_path):
    (tmp_path / "a.txt").write_text("x.jpg 1\n")
    values = {key: w.value for key, w in WIRES.items()}
    values |= {"TRAIN.CACHE_FEATURES": True, "DATA.DATA_PATH": str(tmp_path), "DATA.ON_ERROR": "skip"}
    dataset = train_dataset(RECIPE.load(None, values))
    assert (len(dataset), dataset.transform) == (1, wired.eval_loader.dataset.transform)
    assert dataset.on_error == "skip"  # they are trained on
