import math

import numpy as np
import pytest

from mae_data.loading.dataset import sample_rng
from mae_data.transforms.random_erasing import RandomErasing, draw_noise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def draw_many(erasing, size, count):
    rng = sample_rng(0, 0, 0)
    return [erasing.draw_boxes(size, rng) for _ in range(count)]


def normal_share(limit):
    return 0.5 * (1 + math.erf(limit / math.sqrt(2)))


def test_an_image_is_erased_with_its_probability():
    for prob in (0.0, 0.25, 1.0):
        share = np.mean([bool(boxes) for boxes in draw_many(RandomErasing(prob), (224, 224), 4000)])
        assert abs(share - prob) <= 3.3 * math.sqrt(prob * (1 - prob) / 4000)


def test_areas_are_uniform_and_aspects_log_uniform():
    # Large and square: a box only misses the image beyond an aspect of 3, rarely, so the bounds hold.
    boxes = np.array([box for drawn in draw_many(RandomErasing(1.0), (4000, 4000), 4000) for box in drawn])
    assert len(boxes) == 4000
    top, left, height, width = boxes.T
    area = height * width / 4000**2
    log_aspect = np.log(height / width) / math.log(1 / 0.3)
    assert 0.0199 < area.min() < 0.0215
    assert 0.331 < area.max() < 0.3335
    assert abs(area.mean() - (0.02 + 1 / 3) / 2) < 3.5 * 0.0905 / math.sqrt(4000)
    assert -1.001 < log_aspect.min() < -0.98
    assert 0.98 < log_aspect.max() < 1.001
    for level in (-0.5, 0.0, 0.5):
        wanted = (level + 1) / 2
        assert abs(np.mean(log_aspect < level) - wanted) < 3.5 * 0.5 / math.sqrt(4000) + 0.005
    for start, room in ((top, 4000 - height), (left, 4000 - width)):
        assert abs(np.mean(start / room) - 0.5) < 3.5 / math.sqrt(12 * 4000)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (10, 60), (33, 17)])
def test_boxes_are_smaller_than_the_image(size):
    for boxes in draw_many(RandomErasing(1.0), size, 300):
        for top, left, height, width in boxes:
            assert height < size[0]
            assert width < size[1]
            assert 0 <= top <= size[0] - height
            assert 0 <= left <= size[1] - width


def test_every_place_is_drawn():
    # In 3x3 pixels the largest box is 2x2.
    drawn = {box for boxes in draw_many(RandomErasing(1.0), (3, 3), 3000) for box in boxes}
    assert {box[:2] for box in drawn if box[2:] == (1, 1)} == {(top, left) for top in range(3) for left in range(3)}


def test_several_boxes_share_the_area():
    drawn = draw_many(RandomErasing(1.0, 3), (2000, 2000), 3000)
    counts = np.bincount([len(boxes) for boxes in drawn], minlength=4)
    assert counts[0] == 0
    assert (np.abs(counts[1:] - 1000) < 3.5 * math.sqrt(3000 * 2 / 9)).all()
    for number in (1, 2, 3):
        areas = [box[2] * box[3] / 2000**2 for boxes in drawn if len(boxes) == number for box in boxes]
        assert max(areas) == pytest.approx(1 / 3 / number, rel=0.02)
        assert min(areas) == pytest.approx(0.02 / number, rel=0.12)


@pytest.mark.parametrize("channels", [1, 3])
def test_only_the_box_changes(channels):
    image = np.full((40, 30, channels), 7, np.uint8)
    before = image.copy()
    mean, std = MEAN[:channels], STD[:channels]
    RandomErasing(1.0)(image, mean, std, sample_rng(0, 0, 3))
    rng = sample_rng(0, 0, 3)
    ((top, left, height, width),) = RandomErasing(1.0).draw_boxes((40, 30), rng)
    before[top : top + height, left : left + width] = draw_noise((height, width), mean, std, rng)
    np.testing.assert_array_equal(image, before)
    assert len(np.unique(image[top : top + height, left : left + width])) > 20


def test_noise_is_standard_normal_for_the_model_up_to_rounding_and_clipping():
    pixels = draw_noise((400, 400), MEAN, STD, sample_rng(0, 0, 0)).astype(np.float64)
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        for level in (0, 1, 60, 116, 200, 254, 255):
            # A pixel is at most `level` when 255 (n std + mean) is below level + 0.5.
            wanted = 1.0 if level == 255 else normal_share(((level + 0.5) / 255 - mean) / std)
            got = np.mean(pixels[..., channel] <= level)
            assert abs(got - wanted) <= 3.5 * math.sqrt(wanted * (1 - wanted) / 160_000)
    normalised = (pixels / 255 - MEAN) / STD
    # What the docstring says.
    assert np.mean((pixels == 0) | (pixels == 255)) == pytest.approx(0.033, abs=0.001)
    assert normalised.std() == pytest.approx(0.971, abs=0.003)
    pairs = (normalised[:, :-1] * normalised[:, 1:]).mean(axis=(0, 1))  # neighbours and channels are independent
    assert (np.abs(pairs) < 0.01).all()
    assert abs((normalised[..., 0] * normalised[..., 1]).mean()) < 0.01


@pytest.mark.parametrize(("options", "name"), [((1.5, 1), "reprob"), ((-0.1, 1), "reprob"), ((0.5, 0), "recount")])
def test_wrong_arguments_are_named(options, name):
    with pytest.raises(ValueError, match=name):
        RandomErasing(*options)
