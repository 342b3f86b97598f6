"""An optimizer is added by a builder and a name. Copy this test for one of your own; see mae-core's docs/seams.md."""

from dataclasses import replace

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401
from mae_core.errors import ConfigError
from mae_core.training.optim import trainable
from mae_pretrain.build import build_model
from mae_pretrain.config import OPTIMIZERS, RECIPE
from mae_pretrain.optimizers.choice import BUILDERS, build_optimizer

TINY = {
    "DATA.IMAGE_SIZE": 8, "MODEL.PATCH_SIZE": 4, "MODEL.ENCODER.EMBED_DIM": 8, "MODEL.ENCODER.DEPTH": 1,
    "MODEL.ENCODER.NUM_HEADS": 2, "MODEL.DECODER.EMBED_DIM": 8, "MODEL.DECODER.DEPTH": 1, "MODEL.DECODER.NUM_HEADS": 2,
    "TRAIN.WEIGHT_DECAY": 0.07, "TRAIN.OPTIMIZER.BETAS": (0.7, 0.8),
}  # fmt: skip


def build_sgd(model, train):
    """SGD with momentum, the worked example: the first of the two betas is its momentum."""
    parameters = [p for _, p in trainable(model)]
    return paddle.optimizer.Momentum(0.0, train.OPTIMIZER.BETAS[0], parameters, weight_decay=train.WEIGHT_DECAY)


@pytest.fixture
def sgd(monkeypatch):
    """What a user writes into `optimizers/choice.py` and `config.py`."""
    monkeypatch.setitem(BUILDERS, "SGD", build_sgd)
    name = "TRAIN.OPTIMIZER.NAME"
    monkeypatch.setitem(RECIPE.keys, name, replace(RECIPE.keys[name], choices=(*OPTIMIZERS, "SGD")))


def test_the_config_names_the_optimizers_that_can_be_built():
    assert set(OPTIMIZERS) == set(BUILDERS)
    with pytest.raises(ConfigError, match="'SGD' is not one of 'AdamW', 'AdamWDL'"):
        RECIPE.load(None, {"TRAIN.OPTIMIZER.NAME": "SGD"})


def test_an_optimizer_is_chosen_by_name_and_steps(sgd):
    settings = RECIPE.load(None, TINY | {"TRAIN.OPTIMIZER.NAME": "SGD"})
    model = build_model(settings)
    optimizer, weight = build_optimizer(model, settings.TRAIN), model.cls_token
    before = weight.numpy().astype(np.float64)
    for _ in range(2):
        optimizer.set_lr(0.5)
        (weight * 3.0).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
    # v <- 0.7 v + g + 0.07 w, w <- w - lr v: momentum and decay of TINY
    first = 3.0 + 0.07 * before
    after = before - 0.5 * first
    expected = after - 0.5 * (0.7 * first + 3.0 + 0.07 * after)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)
