"""Warm-up, cosine, scaled rate and betas at places known from the paper."""

import paddle
import pytest

from mae_core.training.optim import build_adamw
from mae_core.training.schedule import scaled_lr, warmup_cosine


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.1), (4, 0.34), (10, 0.7), (35, 0.4), (60, 0.1), (70, 0.1)])
def test_warm_up_and_half_a_cosine(epoch, rate):
    settings = {"lr": 0.7, "min_lr": 0.1, "warmup_epochs": 10, "epochs": 60, "warmup_start_lr": 0.1}
    assert warmup_cosine(epoch, **settings) == pytest.approx(rate)


def test_the_base_rate_is_for_256_images():
    assert scaled_lr(1.5e-4, 4096) == pytest.approx(2.4e-3)


def test_adamw_has_the_betas_of_pre_training():
    optimizer = build_adamw(paddle.nn.Linear(2, 2))
    assert (optimizer._beta1, optimizer._beta2) == (0.9, 0.95)
