"""The points of a curve: a short last interval does not bend it, smoothing has a formula."""

import numpy as np
import pytest

from mae_core.report.charts import merge_short_tail, smooth, thin_out


def records(*pairs):
    return [{"step": step, "epoch": step / 10, "loss": loss, "lr": 0.1 * step} for step, loss in pairs]


def test_a_short_last_interval_is_joined_by_its_steps():
    """40, 40 and 16 steps: the mean over the last 56 is what one interval of them would have logged."""
    *kept, last = merge_short_tail(records((40, 2.0), (80, 1.0), (96, 1.7)))
    assert kept == records((40, 2.0))
    assert last["loss"] == pytest.approx((40 * 1.0 + 16 * 1.7) / 56)
    assert (last["step"], last["epoch"], last["lr"]) == (96, 9.6, pytest.approx(9.6))


@pytest.mark.parametrize("pairs", [[], [(40, 2.0)], [(40, 2.0), (56, 1.0)], [(40, 2.0), (80, 1.0), (120, 1.1)]])
def test_whole_intervals_stay(pairs):
    assert merge_short_tail(records(*pairs)) == records(*pairs)


def test_smoothing_is_the_weighted_mean_of_what_came_before():
    values = np.random.default_rng(0).random(7)
    assert smooth(values, 0) == pytest.approx(values)
    weights = 0.8 ** np.arange(6, -1, -1)
    assert smooth(values, 0.8)[-1] == pytest.approx(weights @ values / weights.sum())
    assert smooth([3.0] * 5, 0.9) == pytest.approx([3.0] * 5)


def test_long_curves_are_averaged_and_short_ones_left_alone():
    long = records(*((step, float(step)) for step in range(1, 1001)))
    assert thin_out(long[:300], ("loss",)) == long[:300]
    thin = thin_out(long, ("loss",), 300)
    assert len(thin) == 250
    assert (thin[0]["step"], thin[0]["loss"]) == (4, 2.5)
    assert thin[-1]["step"] == 1000
    assert sum(record["loss"] for record in thin) * 4 == pytest.approx(sum(record["loss"] for record in long))
