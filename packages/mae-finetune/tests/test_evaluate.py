"""Scoring a model: stopping early, outputs that are not finite."""

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401
from mae_core.errors import NonFiniteError
from mae_core.precision import Precision
from mae_finetune.build import build_model
from mae_finetune.config import RECIPE
from mae_finetune.evaluate import open_eval_set, score


@pytest.fixture
def setting(data):
    small = "DATA.IMAGE_SIZE 16 DATA.NUM_WORKERS 0 DATA.BATCH_SIZE 2 MODEL.PATCH_SIZE 8 MODEL.NUM_CLASSES 3"
    small += " MODEL.ENCODER.EMBED_DIM 8 MODEL.ENCODER.DEPTH 1 MODEL.ENCODER.NUM_HEADS 2"
    config = RECIPE.load(flags={"DATA.DATA_PATH": str(data)}, pairs=small.split())
    model = build_model(config)
    model.eval()
    return config, model, open_eval_set(config)


def test_a_scored_set_is_seen_once_and_whole(setting):
    scores = score(*setting, Precision(False))
    assert scores.images == 7
    np.testing.assert_array_equal(scores.confusion.sum(axis=1), [3, 2, 2])


def test_scoring_stops_when_asked_to(setting):
    asked = []

    def after_two_batches():
        asked.append(True)
        return len(asked) > 2

    assert score(*setting, Precision(False), after_two_batches) is None
    assert len(asked) == 3


def test_an_output_that_is_not_finite_is_no_score(setting):
    config, model, eval_set = setting
    model.head.bias.set_value(paddle.to_tensor([0.0, float("nan"), 0.0]))
    with pytest.raises(NonFiniteError, match=r"val_list\.txt:1 \(val/class 0/a 0\.jpg\)"):
        score(config, model, eval_set, Precision(False))
