import io
import math
import pickle

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.jpeg import open_lazily
from mae_data.images.value_range import Planes, as_value_range
from mae_data.loading.dataset import sample_rng
from mae_data.transforms.crops import centred_box, covering_size, draw_resized_crop, draw_single_crop, resized_crop
from mae_data.transforms.pipelines import (
    CropTransform,
    make_eval_transform,
    make_finetune_transform,
    make_pretrain_transform,
    make_probe_transform,
)
from mae_data.transforms.rand_augment import RandAugment, apply_operation
from mae_data.transforms.random_erasing import RandomErasing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BICUBIC = Image.Resampling.BICUBIC


def noise_image(width, height, channels=3, seed=0):
    shape = (height, width, 3) if channels == 3 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def draws(size, scale, ratio, count=4000):
    return np.array([draw_resized_crop(size, scale, ratio, sample_rng(0, 0, i)) for i in range(count)])


def distance_from_uniform(values):
    """Kolmogorov-Smirnov distance of values from the uniform distribution on [0, 1]."""
    values = np.sort(values)
    steps = np.arange(len(values) + 1) / len(values)
    return max(np.abs(values - steps[1:]).max(), np.abs(values - steps[:-1]).max())


def test_crops_are_uniform_in_area_log_ratio_and_place():
    # Boxes of this range always fit, so nothing is redrawn and the distributions are exact.
    size, low, high, limit = (2000, 2000), 0.2, 0.5, math.log(4 / 3)
    top, left, height, width = draws(size, (low, high), (3 / 4, 4 / 3)).T
    # Kolmogorov-Smirnov bound at 1 % for the four comparisons together, 0.25 % for each.
    bound = math.sqrt(-math.log(0.0025 / 2) / 2) / math.sqrt(4000)
    assert distance_from_uniform((height * width / 4e6 - low) / (high - low)) < bound
    assert distance_from_uniform((np.log(width / height) + limit) / (2 * limit)) < bound
    assert distance_from_uniform(top / (2000 - height)) < bound
    assert distance_from_uniform(left / (2000 - width)) < bound


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (50, 3), (33, 47), (224, 224)])
def test_crops_stay_inside(size):
    top, left, height, width = draws(size, (0.08, 1.0), (3 / 4, 4 / 3), 500).T
    assert (np.minimum(top, left) >= 0).all()
    assert (np.minimum(height, width) >= 1).all()
    assert (top + height <= size[0]).all()
    assert (left + width <= size[1]).all()


def test_every_place_of_a_crop_can_be_drawn():
    boxes = draws((4, 4), (9 / 16, 9 / 16), (1, 1), 300)
    assert {tuple(box) for box in boxes} == {(top, left, 3, 3) for top in (0, 1) for left in (0, 1)}


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((10, 1000), (0, 493, 10, 13)),  # too wide: 10 high, 10 * 4/3 wide, centred
        ((1000, 9), (494, 0, 12, 9)),  # too high: 9 wide, 9 / (3/4) high, centred
        ((30, 33), (0, 0, 30, 33)),
    ],
)
def test_fallback_is_the_largest_centred_box(size, box):
    assert centred_box(size, (3 / 4, 4 / 3)) == box
    # An area above the image's never fits, so ten tries fail.
    assert draw_resized_crop(size, (2.0, 2.0), (3 / 4, 4 / 3), sample_rng(0, 0, 0)) == box


def test_a_single_crop_is_one_draw_clamped_to_the_image():
    # In 30x300 pixels most boxes of a near-square shape are too high: torchvision would draw again.
    size, scale, ratio = (30, 300), (0.08, 1.0), (3 / 4, 4 / 3)
    clamped = 0
    for i in range(1000):
        u, v, row, column = sample_rng(0, 0, i).random(4)
        area = 30 * 300 * (0.08 + 0.92 * u)
        aspect = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * v)
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        clamped += height > 30
        width, height = min(width, 300), min(height, 30)
        box = draw_single_crop(size, scale, ratio, sample_rng(0, 0, i))
        assert box == (int(row * (30 - height + 1)), int(column * (300 - width + 1)), height, width)
    assert clamped > 900


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (50, 3), (33, 47)])
def test_single_crops_stay_inside(size):
    boxes = [draw_single_crop(size, (0.08, 1.0), (3 / 4, 4 / 3), sample_rng(0, 0, i)) for i in range(500)]
    for top, left, height, width in boxes:
        assert 0 <= top <= size[0] - height < size[0]
        assert 0 <= left <= size[1] - width < size[1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image_size", [16, (24, 16), [8, 12]])
def test_pretraining_crops_then_resizes(channels, image_size):
    image = noise_image(60, 40, channels)
    transform = make_pretrain_transform(image_size=image_size, hflip=0.0)
    got = transform(image, sample_rng(3, 1, 2))
    top, left, height, width = draw_resized_crop((40, 60), (0.2, 1.0), (3 / 4, 4 / 3), sample_rng(3, 1, 2))
    out_height, out_width = (16, 16) if image_size == 16 else image_size
    window = np.asarray(image)[top : top + height, left : left + width]
    wanted = np.asarray(Image.fromarray(window).resize((out_width, out_height), BICUBIC))
    np.testing.assert_array_equal(got.reshape(wanted.shape), wanted)
    assert got.shape == (out_height, out_width, channels)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.flags.writeable


def test_flip_mirrors_the_same_crop():
    image = noise_image(30, 30)
    plain = make_pretrain_transform(image_size=16, hflip=0.0)(image, sample_rng(0, 0, 5))
    flipped = make_pretrain_transform(image_size=16, hflip=1.0)(image, sample_rng(0, 0, 5))
    np.testing.assert_array_equal(flipped, plain[:, ::-1])
    assert flipped.flags.c_contiguous


def test_probing_is_a_single_crop_and_a_flip():
    image = noise_image(90, 20)
    for hflip in (0.0, 1.0):
        got = make_probe_transform(image_size=16, hflip=hflip)(image, sample_rng(0, 0, 5))
        top, left, height, width = draw_single_crop((20, 90), (0.08, 1.0), (3 / 4, 4 / 3), sample_rng(0, 0, 5))
        window = image.crop((left, top, left + width, top + height)).resize((16, 16), BICUBIC)
        np.testing.assert_array_equal(got, np.asarray(window)[:, :: -1 if hflip else 1])


@pytest.mark.parametrize("channels", [1, 3])
def test_finetuning_crops_flips_augments_and_erases(channels):
    image, mean, std = noise_image(60, 40, channels), MEAN[:channels], STD[:channels]
    transform = make_finetune_transform(image_size=(24, 16), mean=mean, std=std, reprob=0.5)
    policy, erasing = RandAugment(9, 0.5, 2, 0.5), RandomErasing(0.5, 1)
    for i in range(40):
        rng = sample_rng(0, 0, i)
        top, left, height, width = draw_resized_crop((40, 60), (0.08, 1.0), (3 / 4, 4 / 3), rng)
        flip = rng.random() < 0.5
        wanted = image.crop((left, top, left + width, top + height)).resize((16, 24), BICUBIC)
        wanted = wanted.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else wanted
        for operation in policy.draw(rng):
            wanted = apply_operation(wanted, operation, mean)
        wanted = np.array(wanted).reshape(24, 16, channels)
        erasing(wanted, mean, std, rng)
        got = transform(image, sample_rng(0, 0, i))
        np.testing.assert_array_equal(got, wanted)
        assert (got.dtype, got.flags.c_contiguous, got.flags.writeable) == (np.uint8, True, True)


@pytest.mark.parametrize("rand_augment", [None, ""])
def test_finetuning_without_extras_is_a_crop_and_flip(rand_augment):
    options = {"image_size": 16, "scale": (0.3, 0.9), "ratio": (1.0, 2.0), "hflip": 0.3}
    finetune = make_finetune_transform(**options, mean=MEAN, std=STD, rand_augment=rand_augment, reprob=0.0)
    plain = make_pretrain_transform(**options)
    for i in range(10):
        np.testing.assert_array_equal(
            finetune(noise_image(50, 50), sample_rng(0, 0, i)), plain(noise_image(50, 50), sample_rng(0, 0, i))
        )


def test_finetuning_refuses_images_of_other_channels():
    transform = make_finetune_transform(image_size=8, mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="the image has 1 channels, mean and std have 3"):
        transform(noise_image(9, 9, 1), sample_rng(0, 0, 0))


def test_flip_has_its_probability():
    image = noise_image(4, 4)
    transform = make_pretrain_transform(image_size=4, scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=0.3)
    original = np.asarray(image)
    flips = [not np.array_equal(transform(image, sample_rng(0, 0, i)), original) for i in range(2000)]
    assert abs(np.mean(flips) - 0.3) < 3 * math.sqrt(0.3 * 0.7 / 2000)


def test_the_generator_alone_decides():
    image = noise_image(50, 50)
    transform = make_pretrain_transform(image_size=8)
    first = transform(image, sample_rng(1, 2, 3))
    np.testing.assert_array_equal(transform(image, sample_rng(1, 2, 3)), first)
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not np.array_equal(transform(image, sample_rng(*other)), first)


@pytest.mark.parametrize(
    ("width", "height", "resized", "corner"),
    [
        (300, 200, (109, 73), (22, 4)),  # int(64 / 0.875) = 73, 73 * 300 / 200 = 109.5
        (90, 97, (73, 78), (4, 7)),
        (10, 10, (73, 73), (4, 4)),
    ],
)
def test_evaluation_resizes_the_shorter_side_and_crops_the_centre(width, height, resized, corner):
    image = noise_image(width, height)
    got = make_eval_transform(image_size=64)(image, sample_rng(0, 0, 0))
    left, top = corner
    wanted = np.asarray(image.resize(resized, BICUBIC))[top : top + 64, left : left + 64]
    np.testing.assert_array_equal(got, wanted)


# Below 225 pixels int(size / 0.875), as timm does.
@pytest.mark.parametrize(("image_size", "resized"), [(32, 36), (96, 109), (224, 256), (225, 225), (384, 384)])
def test_default_crop_share(image_size, resized):
    got = make_eval_transform(image_size=image_size)(noise_image(500, 500), sample_rng(0, 0, 0))
    edge = round((resized - image_size) / 2)
    whole = np.asarray(noise_image(500, 500).resize((resized, resized), BICUBIC))
    np.testing.assert_array_equal(got, whole[edge : edge + image_size, edge : edge + image_size])


def test_crop_share_can_be_set():
    got = make_eval_transform(image_size=32, crop_pct=1.0)(noise_image(64, 64, 1), sample_rng(0, 0, 0))
    np.testing.assert_array_equal(got[..., 0], np.asarray(noise_image(64, 64, 1).resize((32, 32), BICUBIC)))


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (100, 30), (31, 640)])
@pytest.mark.parametrize("target", [(8, 8), (8, 20), (33, 5)])
def test_covering_size_covers_and_touches(size, target):
    height, width = covering_size(size, target)
    assert height >= target[0]
    assert width >= target[1]
    assert height == target[0] or width == target[1]
    assert abs(height * size[1] - width * size[0]) < max(size)  # same shape, up to rounding down


def test_evaluation_refuses_images_that_would_explode():
    with pytest.raises(DataError, match="200000x1 pixels are too elongated"):
        make_eval_transform(image_size=64)(Image.new("L", (200_000, 1)), sample_rng(0, 0, 0))


def test_transforms_are_picklable():
    image = noise_image(20, 20)
    for transform in (
        make_pretrain_transform(image_size=8),
        make_finetune_transform(image_size=8, mean=MEAN, std=STD),
        make_probe_transform(image_size=8),
        make_eval_transform(image_size=(8, 9)),
    ):
        copy = pickle.loads(pickle.dumps(transform))
        np.testing.assert_array_equal(copy(image, sample_rng(0, 0, 1)), transform(image, sample_rng(0, 0, 1)))


@pytest.mark.parametrize(
    ("make", "options", "name"),
    [
        (make_pretrain_transform, {"image_size": 0}, "image_size"),
        (make_pretrain_transform, {"image_size": 8, "scale": (0.5, 0.2)}, "scale"),
        (make_pretrain_transform, {"image_size": 8, "ratio": (0.0, 1.0)}, "ratio"),
        (make_pretrain_transform, {"image_size": 8, "hflip": 1.5}, "hflip"),
        (make_finetune_transform, {"image_size": 8, "mean": (0.5,), "std": STD}, "mean"),
        (make_finetune_transform, {"image_size": 8, "mean": (0.5, 0.5), "std": (0.5, 0.5)}, "mean"),
        (make_finetune_transform, {"image_size": 8, "mean": MEAN, "std": STD, "rand_augment": "m9"}, "rand_augment"),
        (make_finetune_transform, {"image_size": 8, "mean": MEAN, "std": STD, "reprob": 2}, "reprob"),
        (make_finetune_transform, {"image_size": 8, "mean": MEAN, "std": STD, "recount": 0}, "recount"),
        (make_probe_transform, {"image_size": 8, "scale": (0.0, 1.0)}, "scale"),
        (make_eval_transform, {"image_size": (8, -1)}, "image_size"),
        (make_eval_transform, {"image_size": 8, "crop_pct": 0.0}, "crop_pct"),
    ],
)
def test_wrong_arguments_are_named(make, options, name):
    with pytest.raises(ValueError, match=name):
        make(**options)


class Fixed:
    """A generator that gives what it is told."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return self.values.pop(0)


@pytest.mark.parametrize("kind", ["jpeg", "picture", "planes"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("upside_down", [False, True])
def test_flips_and_quarter_turns_of_every_depth(make_photo, as_jpeg, kind, turns, upside_down):
    photo = make_photo(30, 24)
    array = np.asarray(photo) if kind != "jpeg" else np.asarray(Image.open(io.BytesIO(as_jpeg(photo))).convert("RGB"))
    image = photo
    if kind == "jpeg":
        image = open_lazily(as_jpeg(photo))
    if kind == "planes":
        array = array.astype(np.uint16) * 200
        image = Planes(array, as_value_range(65535))
    transform = CropTransform((24, 30), (1, 1), (1, 1), 0.5, 0.5, True, lambda size, *_: (0, 0, *size))
    # Not mirrored; upside down or not; turned.
    got = transform(image, Fixed(0.9, 0.1 if upside_down else 0.9, turns / 4))
    if turns % 2:
        # the whole image, resized to the other sides and turned back
        whole = resized_crop(image, (0, 0, 24, 30), (30, 24))
        expected = np.rot90(whole[::-1] if upside_down else whole, turns)
    else:
        expected = np.rot90(array[::-1] if upside_down else array, turns)
    np.testing.assert_array_equal(got, expected)
    assert got.flags.c_contiguous


def test_without_flips_and_turns_nothing_else_is_drawn():
    rng = np.random.default_rng(5)
    make_pretrain_transform(image_size=8)(Image.new("RGB", (20, 20)), rng)
    other = np.random.default_rng(5)
    draw_resized_crop((20, 20), (0.2, 1.0), (3 / 4, 4 / 3), other)
    other.random()
    assert rng.random() == other.random()


def test_a_turned_rectangle_keeps_its_size():
    transform = make_probe_transform(image_size=(8, 16), vflip=1.0, rotate90=True)
    for seed in range(8):
        assert transform(Image.new("RGB", (20, 30)), np.random.default_rng(seed)).shape == (8, 16, 3)
    with pytest.raises(ValueError, match=r"vflip=1.5; give a probability"):
        make_pretrain_transform(image_size=8, vflip=1.5)
