"""What is drawn to mix, against timm's semantics written out one image at a time."""

import math

import numpy as np
import pytest

from mae_data.rng import symmetric_beta
from mae_data.transforms.mixup import Mixup, cutmix_boxes, draw_mixture, mixing_rng

SIZE = (20, 50)  # height and width differ, so that swapping them shows


class Scripted:
    """Stands in for a generator: gives the numbers it was made with."""

    def __init__(self, values):
        self.values = np.asarray(values, np.float64)

    def random(self, shape):
        assert self.values.shape == shape
        return self.values


def box_of(lam, row, column):
    """The CutMix box as in timm, one image at a time: (top, left, bottom, right)."""
    height, width = SIZE
    cut_height, cut_width = int(height * math.sqrt(1 - lam)), int(width * math.sqrt(1 - lam))
    middle_row, middle_column = int(row * height), int(column * width)
    top, bottom = middle_row - cut_height // 2, middle_row + (cut_height + 1) // 2
    left, right = middle_column - cut_width // 2, middle_column + (cut_width + 1) // 2
    return max(top, 0), max(left, 0), min(bottom, height), min(right, width)


def area(box):
    top, left, bottom, right = box
    return (bottom - top) * (right - left)


def expected(mixup, uniforms):
    """Yield (weight, box, lam) of each draw, decided one after the other."""
    for applied, switch, u, v, row, column in np.transpose(uniforms):
        cut = switch < mixup.switch_prob
        lam = float(symmetric_beta(u, v, mixup.cutmix_alpha if cut else mixup.mixup_alpha))
        if applied >= mixup.prob:
            yield 1.0, None, 1.0
        elif not cut:
            yield lam, None, lam
        else:
            box = box_of(lam, row, column)
            yield 1.0, box, 1 - area(box) / (SIZE[0] * SIZE[1])


@pytest.mark.parametrize(("mode", "count"), [("batch", 1), ("elem", 8), ("pair", 4)])
@pytest.mark.parametrize("seed", range(6))
def test_mixtures_are_those_of_timm(mode, count, seed):
    mixup = Mixup(prob=0.8, mode=mode)
    uniforms = np.random.default_rng(seed).random((6, count))
    got = draw_mixture(mixup, 8, SIZE, Scripted(uniforms))
    wanted = list(expected(mixup, uniforms))
    if mode == "pair":
        wanted += wanted[::-1]
    assert len(got.weight) == len(got.boxes) == len(got.lam) == len(wanted)
    for i, (weight, box, lam) in enumerate(wanted):
        assert got.weight[i] == np.float32(weight)
        assert got.lam[i] == np.float32(lam)
        # An image that is not cut has an empty box, wherever that is.
        assert tuple(got.boxes[i]) == box if box else area(got.boxes[i]) == 0


@pytest.mark.parametrize("lam", [0.0, 0.01, 0.3, 0.5, 0.999, 1.0])
def test_boxes_are_those_of_timm(lam):
    rows, columns = np.random.default_rng(0).random((2, 200))
    boxes = cutmix_boxes(np.full(200, lam), SIZE, rows, columns)
    assert [tuple(box) for box in boxes] == [box_of(lam, *place) for place in zip(rows, columns, strict=True)]


def test_boxes_have_the_shape_of_the_image():
    (box,) = cutmix_boxes(np.array([0.75]), SIZE, np.array([0.5]), np.array([0.5]))
    np.testing.assert_array_equal(box, [5, 13, 15, 38])  # half of 20 high and of 50 wide, around (10, 25)


def test_shares_of_mixup_and_cutmix():
    count = 20_000
    mixture = draw_mixture(Mixup(prob=0.8, switch_prob=0.3, mode="elem"), count, (224, 224), mixing_rng(0, 0, 0))
    sizes = (mixture.boxes[:, 2:] - mixture.boxes[:, :2]).prod(axis=1)
    cut, mixed = sizes > 0, mixture.weight < 1
    assert not (cut & mixed).any()
    for share, wanted in ((cut.mean(), 0.24), (mixed.mean(), 0.56)):
        assert abs(share - wanted) < 3.5 * math.sqrt(wanted * (1 - wanted) / count) + 1e-3  # 1e-3: empty boxes
    # Beta(0.8, 0.8) has the variance 1 / (4 (2 0.8 + 1)).
    assert mixture.weight[mixed].mean() == pytest.approx(0.5, abs=0.01)
    assert mixture.weight[mixed].var() == pytest.approx(1 / 10.4, rel=0.03)


@pytest.mark.parametrize(
    ("options", "cut"), [({"mixup_alpha": 0.0}, True), ({"cutmix_alpha": 0.0}, False), ({"switch_prob": 1.0}, True)]
)
def test_one_kind_alone(options, cut):
    mixture = draw_mixture(Mixup(mode="elem", **options), 400, (224, 224), mixing_rng(0, 0, 0))
    assert (mixture.weight == 1).all() == cut
    assert mixture.boxes.any() == cut
    assert len(np.unique(mixture.lam)) > 300


@pytest.mark.parametrize("options", [{"prob": 0.0}, {"mixup_alpha": 0.0, "cutmix_alpha": 0.0}])
def test_nothing_is_mixed_when_off(options):
    assert not Mixup(**options).enabled
    mixture = draw_mixture(Mixup(**options), 6, SIZE, mixing_rng(0, 0, 0))
    assert (mixture.weight.tolist(), mixture.boxes.tolist(), mixture.lam.tolist()) == ([1], [[0, 0, 0, 0]], [1])


def test_a_draw_is_a_function_of_seed_epoch_and_first_sample():
    def lam(*key):
        return draw_mixture(Mixup(cutmix_alpha=0.0, mode="elem"), 4, SIZE, mixing_rng(*key)).lam.tolist()

    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({tuple(lam(*key)) for key in keys}) == 4
    assert lam(0, 1, 0) == lam(0, 1, 0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"mixup_alpha": -1.0}, "mixup=-1.0"),
        ({"cutmix_alpha": -0.5}, "cutmix=-0.5"),
        ({"prob": 1.5}, "prob=1.5"),
        ({"switch_prob": -0.1}, "switch_prob=-0.1"),
        ({"mode": "half"}, "mode='half'; use one of batch, elem, pair"),
    ],
)
def test_wrong_arguments_are_named(options, name):
    with pytest.raises(ValueError, match=name):
        Mixup(**options)


def test_an_odd_batch_is_refused():
    with pytest.raises(ValueError, match=r"batch of 5 images .* even batch size"):
        draw_mixture(Mixup(), 5, SIZE, mixing_rng(0, 0, 0))
