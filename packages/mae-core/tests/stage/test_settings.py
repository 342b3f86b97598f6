"""What is read from a stage's config for encoder, data and samplers."""

import pytest
from yacs.config import CfgNode as CN

from mae_core.stage.config.to_arguments import encoder_of
from mae_core.stage.config.to_data_arguments import eval_sampling_of, images_of, train_sampling_of

CONFIG = {
    "DATA": {"BATCH_SIZE": 8, "IMAGE_SIZE": [32, 48], "IMAGE_CHANNELS": 1, "VALUE_RANGE": 255, "BANDS": None,
             "EXIF": True, "NODATA": None, "DATA_PATH": "/d", "ON_ERROR": "skip", "MAX_BAD": 7, "ALLOW_OUTSIDE": True,
             "DECODER": "exact", "IMAGENET_MEAN": [0.485, 0.456, 0.406], "IMAGENET_STD": [0.229, 0.224, 0.225]},
    "MODEL": {"PATCH_SIZE": 16, "MLP_RATIO": 4.0, "QKV_BIAS": True, "NUM_CLASSES": 3,
              "ENCODER": {"EMBED_DIM": 8, "DEPTH": 1, "NUM_HEADS": 2}},
    "TRAIN": {"ACCUM_ITER": 2},
    "SEED": 7,
}  # fmt: skip


def test_greyscale_images_that_are_not_square_reach_the_encoder():
    arguments = encoder_of(CN(CONFIG))
    assert (arguments["img_size"], arguments["in_chans"]) == ((32, 48), 1)
    assert (arguments["pixel_mean"], arguments["pixel_std"]) == ((0.5,), (0.5,))  # ImageNet's three say nothing here


def test_labels_are_checked_against_the_classes_only_where_they_are_needed():
    needed, optional = images_of(CN(CONFIG)), images_of(CN(CONFIG), "optional")
    assert (needed["nodata"], needed["mean"]) == (None, (0.5,))
    assert (needed["labels"], needed["num_classes"]) == ("required", 3)
    assert (optional["labels"], optional["num_classes"]) == ("optional", None)
    assert (needed["root"], needed["seed"], needed["channels"]) == ("/d", 7, 1)
    assert (needed["allow_outside"], needed["opt_in"]) == (True, "DATA.ALLOW_OUTSIDE True")


def test_training_skips_where_the_config_says_so_and_evaluation_never_does():
    training, evaluation = images_of(CN(CONFIG), training=True), images_of(CN(CONFIG))
    assert (training["on_error"], training["max_skipped"]) == ("skip", 7)
    assert training["advice"] == "DATA.ON_ERROR skip passes over them"
    assert images_of(CN(CONFIG), dropping=True)["on_error"] == "drop"
    config = CN(CONFIG)
    config.DATA.ON_ERROR = "raise"
    assert images_of(config, training=True)["on_error"] == images_of(config, dropping=True)["on_error"] == "raise"
    assert evaluation["on_error"] == "raise"
    assert "evaluation never skips" in evaluation["advice"]
    assert "--write-lists does, of lists of one class" in evaluation["advice"]  # of masks and rows verify refuses it


@pytest.mark.parametrize(("size", "expected"), [(None, 8), (3, 3)])
def test_samplers_take_this_ranks_share(monkeypatch, size, expected):
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    config = CN(CONFIG)
    share = {"rank": 1, "world_size": 2}
    assert train_sampling_of(config) == {"batch_size": 8, "accum_iter": 2, "seed": 7, "repeats": 1, **share}
    assert eval_sampling_of(config) == {"batch_size": 8, **share}  # pre-training has no size of its own
    config.DATA.BATCH_SIZE_EVAL = size
    assert eval_sampling_of(config) == {"batch_size": expected, **share}
