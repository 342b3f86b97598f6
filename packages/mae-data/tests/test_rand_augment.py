"""RandAugment against images that timm's own operations made; see make_timm_golden.py."""

import math
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_data.loading.dataset import sample_rng
from mae_data.transforms.rand_augment import NAMES, Operation, RandAugment, apply_operation

GOLDEN = np.load(Path(__file__).with_name("rand_augment_golden.npz"))
MAGNITUDES = (0.0, 3.7, 9.0, 10.0)
MEAN = {"RGB": (0.485, 0.456, 0.406), "L": (0.31,)}
DRAWS = 20_000


def draw_many(policy, count=DRAWS):
    policy = RandAugment.parse(policy)
    rng = sample_rng(0, 0, 0)
    return [policy.draw(rng) for _ in range(count)]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("sign", ["+", "-"])
@pytest.mark.parametrize("name", NAMES)
def test_operations_equal_those_of_timm(name, sign, mode):
    source = Image.fromarray(GOLDEN[f"source {mode}"])
    for magnitude, wanted in zip(MAGNITUDES, GOLDEN[f"{name} {mode} {sign}"], strict=True):
        got = apply_operation(source, Operation(name, magnitude, sign == "-"), MEAN[mode])
        assert got.mode == mode
        np.testing.assert_array_equal(np.asarray(got), wanted, err_msg=f"magnitude {magnitude}")


def test_there_are_timms_fifteen_operations():
    assert {key.split()[0] for key in GOLDEN.files} == {"source", *NAMES}
    assert len(NAMES) == 15


@pytest.mark.parametrize(
    ("policy", "fields"),
    [
        ("rand-m9-mstd0.5-inc1", (9, 0.5, 2, 0.5)),
        ("rand-inc1", (10, 0.0, 2, 0.5)),
        ("rand-n3-p0.25-inc1-mstd1-m0", (0, 1.0, 3, 0.25)),
        ("rand-m10-n1-p1-mstd0-inc1", (10, 0.0, 1, 1.0)),
    ],
)
def test_policies_are_read(policy, fields):
    read = RandAugment.parse(policy)
    assert (read.magnitude, read.magnitude_std, read.num_ops, read.prob) == fields


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "augmix-m3",
        "rand-m9",  # not increasing
        "rand-m9-inc0",
        "rand-m9-inc1-w0",
        "rand-m9-inc1-tweights",
        "rand-m9-inc1-mmax20",
        "rand-m9-m8-inc1",
        "rand-m9.5-inc1",
        "rand-m11-inc1",
        "rand-m-9-inc1",
        "rand-m9-mstd0.5x-inc1",
        "rand-m9-mstd101-inc1",
        "rand-m9-n0-inc1",
        "rand-m9-p1.5-inc1",
        "rand--inc1",
    ],
)
def test_other_policies_are_refused_in_one_line(policy):
    with pytest.raises(ValueError, match=r"write it like rand-m9-mstd0\.5-inc1") as caught:
        RandAugment.parse(policy)
    assert str(caught.value).startswith(f"rand_augment={policy!r}: ")
    assert "\n" not in str(caught.value)


def test_operations_are_uniform_and_drawn_with_replacement():
    pairs = draw_many("rand-m9-p1-inc1")
    counts = Counter(operation.name for pair in pairs for operation in pair)
    expected = 2 * DRAWS / 15
    chi_squared = sum((counts[name] - expected) ** 2 / expected for name in NAMES)
    assert chi_squared < 36.1  # 99.9 % of chi squared with 14 degrees of freedom
    twins = sum(first.name == second.name for first, second in pairs)
    assert abs(twins - DRAWS / 15) < 3.3 * math.sqrt(DRAWS * 14) / 15


def test_each_operation_is_applied_with_its_probability():
    counts = Counter(len(drawn) for drawn in draw_many("rand-m9-p0.3-inc1"))
    for length, share in ((0, 0.49), (1, 0.42), (2, 0.09)):
        assert abs(counts[length] - DRAWS * share) < 3.3 * math.sqrt(DRAWS * share * (1 - share))


def test_magnitudes_are_normal_and_clipped():
    drawn = draw_many("rand-m9-mstd0.5-p1-inc1")
    magnitudes = np.array([operation.magnitude for pair in drawn for operation in pair])
    count = len(magnitudes)
    assert magnitudes.max() == 10
    # P(N(9, 0.5) < x) at some x below the clip, and the share at the clip, 1 - P(N(0, 1) < 2).
    for limit in (8.0, 8.75, 9.0, 9.5, 9.99):
        wanted = 0.5 * (1 + math.erf((limit - 9) / 0.5 / math.sqrt(2)))
        assert abs(np.mean(magnitudes < limit) - wanted) < 3.5 * math.sqrt(wanted * (1 - wanted) / count)
    assert abs(np.mean(magnitudes == 10) - 0.02275) < 3.5 * math.sqrt(0.02275 / count)
    low = [operation.magnitude for pair in draw_many("rand-m0-mstd0.5-p1-inc1", 1000) for operation in pair]
    assert min(low) == 0
    assert abs(np.mean(np.array(low) == 0) - 0.5) < 3.5 * math.sqrt(0.25 / 2000)


def test_directions_are_even_and_magnitudes_fixed_without_deviation():
    operations = [operation for pair in draw_many("rand-m7-p1-inc1") for operation in pair]
    assert {operation.magnitude for operation in operations} == {7}
    assert abs(np.mean([operation.negative for operation in operations]) - 0.5) < 3.3 / math.sqrt(8 * DRAWS)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_gets_the_drawn_operations_in_order(mode):
    policy = RandAugment.parse("rand-m9-mstd0.5-p1-inc1")
    source = Image.fromarray(GOLDEN[f"source {mode}"])
    for index in range(30):
        first, second = policy.draw(sample_rng(0, 0, index))
        wanted = apply_operation(apply_operation(source, first, MEAN[mode]), second, MEAN[mode])
        got = pickle.loads(pickle.dumps(policy))(source, MEAN[mode], sample_rng(0, 0, index))
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))
