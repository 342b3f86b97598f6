"""Weights of RGB begin runs of images with other channels, in each stage, and are refused unless that is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from stage_runs import FINETUNE, PRETRAIN, PROBE, Stage, assert_refused, data, pretrained, weights

__all__ = ["data", "pretrained"]
SHORT = [
    "TRAIN.NUM_EPOCHS",
    1,
    "TRAIN.WARMUP_EPOCHS",
    0,
    "TRAIN.BASE_LR",
    1e-30,
    "TRAIN.END_LR",
    0,
    "DATA.NUM_WORKERS",
    0,
]
GREY, MEAN = ["DATA.IMAGE_CHANNELS", 1], ["MODEL.CHANNELS_FROM", "mean"]


@pytest.mark.parametrize("stage", [PRETRAIN, FINETUNE, PROBE], ids=lambda stage: stage.package)
def test_a_run_begins_from_adapted_weights(stage: Stage, data: Path, pretrained: Path, tmp_path: Path) -> None:
    classes = [] if stage is PRETRAIN else ["MODEL.NUM_CLASSES", 3]
    words = ["-data_path", data, "-pretrained", pretrained, "-batch_size", 8, *SHORT, *classes, *GREY]
    refused = stage.start(*words, "-output", tmp_path / "no")
    assert_refused(refused, 4, ["DATA.IMAGE_CHANNELS is 3 in these weights, 1 was asked for", "MODEL.CHANNELS_FROM"])
    result = stage.start(*words, *MEAN, "-output", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "adapted from 3 to 1 channels (mean): patch embedding, scaled so that" in result.stdout
    assert "`mae-data stats` measures those of your images" in result.stdout
    taken = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert taken["DATA"]["IMAGENET_MEAN"] == pytest.approx([np.mean([0.485, 0.456, 0.406])])
    before, after = weights(pretrained)[1], weights(tmp_path / "run")[1]
    own = before["patch_embed.proj.weight"].reshape(16, 3, 16)
    std = np.array([0.229, 0.224, 0.225])
    expected = np.einsum("o,pod->pd", std.mean() / std, own)  # the step that was taken is of no size
    np.testing.assert_allclose(after["patch_embed.proj.weight"], expected, rtol=1e-5, atol=1e-7)
    # What was adapted is a run like any other: it is resumed, scored and asked without a word on channels.
    again = stage.start("-resume", tmp_path / "run", "TRAIN.NUM_EPOCHS", 2)
    assert again.returncode == 0, again.stderr
    scored = stage.start("-eval", "-pretrained", tmp_path / "run", "-output", tmp_path / "scores")
    assert scored.returncode == 0, scored.stderr
    assert "adapted from" not in again.stdout + scored.stdout


def test_statistics_of_the_images_come_before_those_of_the_weights(data: Path, pretrained: Path) -> None:
    own = ["DATA.IMAGENET_MEAN", "[0.3]", "DATA.IMAGENET_STD", "[0.2]"]
    words = ["knn", "-pretrained", pretrained, "-data_path", data, "-batch_size", 8, "--k", 3, *MEAN, *GREY]
    said = [PROBE.start(*words, *statistics) for statistics in ([], own)]
    for result in said:
        assert result.returncode == 0, result.stderr
        assert re.search(r"kNN k=3: top-1 \S+", result.stdout)
    taken = "are those of the weights' channels"
    assert [taken in result.stderr for result in said] == [True, False]
    three = PROBE.start(*words, "DATA.IMAGENET_MEAN", "[0.4, 0.4, 0.4]")
    assert_refused(three, 2, ["need one number for each of 1 channels"])
    wrong = PROBE.start(*words, "MODEL.CHANNELS_FROM", "median")
    assert_refused(wrong, 2, ["channels_from='median' is not one of repeat, mean, first"])
