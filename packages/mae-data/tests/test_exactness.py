"""The same (seed, epoch, index) gives the same pixels, however they come about."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import TrainBatchSampler
from mae_data.rng import sample_rng
from mae_data.transforms.pipelines import make_eval_transform, make_finetune_transform, make_pretrain_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRANSFORMS = {
    "pretrain": make_pretrain_transform(image_size=24),
    "finetune": make_finetune_transform(image_size=24, mean=MEAN, std=STD),
    "eval": make_eval_transform(image_size=24),
}
STEPS = 6  # of 8 samples, of 16: three epochs


@pytest.fixture(scope="module")
def photo_root(tmp_path_factory, make_photo, as_jpeg):
    """Sixteen photographs: JPEG files of several kinds, two PNG files among them."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(16):
        image = make_photo(90 + 7 * i, 120 - 3 * i, i, "L" if i == 5 else "RGB")
        if i % 8 == 7:
            image.save(root / f"{i}.png")
        else:
            (root / f"{i}.jpg").write_bytes(as_jpeg(image, progressive=i % 3 == 0, subsampling=i % 3))
    names = sorted(path.name for path in root.iterdir())
    (root / "train_list.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def open_dataset(root, kind, **options):
    return ListDataset(root, "train_list.txt", TRANSFORMS[kind], seed=7, labels="optional", **options)


def all_pixels(root, kind, num_workers=0, repeats=1, **cut):
    """Return {(step, place in the global batch): pixels} over all ranks and parts of a step."""
    dataset, found = open_dataset(root, kind, reuse=repeats > 1), {}
    world_size, accum_iter = cut.get("world_size", 1), cut.get("accum_iter", 1)
    size = 8 // world_size // accum_iter
    for rank in range(world_size):
        options = {"batch_size": size, "rank": rank, "seed": 7, "num_steps": STEPS, "repeats": repeats, **cut}
        sampler = TrainBatchSampler(16, **options)
        for number, (images, _, _) in enumerate(make_loader(dataset, sampler, num_workers=num_workers)):
            step, part = divmod(number, accum_iter)
            for i, image in enumerate(images.numpy()):
                found[step + cut.get("start_step", 0), (part * world_size + rank) * size + i] = image
    return found


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for place, image in wanted.items():
        np.testing.assert_array_equal(found[place], image, str(place))


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_workers_do_not_matter(photo_root, kind, num_workers):
    assert_same(all_pixels(photo_root, kind, num_workers), all_pixels(photo_root, kind))


@pytest.mark.parametrize("cut", [{"world_size": 2}, {"world_size": 4}, {"accum_iter": 2}], ids=str)
def test_ranks_and_accumulation_do_not_matter(photo_root, cut):
    assert_same(all_pixels(photo_root, "finetune", 2, **cut), all_pixels(photo_root, "finetune"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_does_not_matter(photo_root, num_workers):
    """In the middle of an epoch, with and without repeated images."""
    for repeats in (1, 2):
        whole = all_pixels(photo_root, "pretrain", 0, repeats)
        resumed = all_pixels(photo_root, "pretrain", num_workers, repeats, start_step=3)
        assert_same(resumed, {place: image for place, image in whole.items() if place[0] >= 3})


def test_repeated_images_have_the_crops_of_their_epochs(photo_root):
    """Decoding an image once for several crops changes nothing."""
    dataset = open_dataset(photo_root, "pretrain", reuse=True)
    for epoch, index in [(0, 3), (1, 3), (2, 3), (0, 5), (1, 7), (0, 7)]:
        fresh = open_dataset(photo_root, "pretrain")
        np.testing.assert_array_equal(dataset[(epoch, index)][0], fresh[(epoch, index)][0])


PROGRAM = """
import sys, zlib
from mae_data import ListDataset, make_eval_transform, make_finetune_transform
from mae_data.images.native_code import native
options = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
digest = 0
for transform in (make_finetune_transform(image_size=24, **options), make_eval_transform(image_size=24)):
    dataset = ListDataset(sys.argv[1], "train_list.txt", transform, seed=7, labels="optional")
    for epoch in range(3):
        for index in range(16):
            digest = zlib.crc32(dataset[(epoch, index)][0].tobytes(), digest)
print(native() is not None, digest)
"""


def test_the_compiled_part_does_not_matter(photo_root):
    answers = []
    for choice in ("pillow", "auto"):
        env = {**os.environ, "MAE_DATA_PIXELS": choice}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(photo_root)], capture_output=True, text=True, check=True, env=env
        )
        answers.append(done.stdout.split())
    assert answers[0][0] == "False"
    assert answers[0][1] == answers[1][1]


def bicubic_weights(count_in, count_out):
    """Return [out, in]: Keys' cubic of a = -0.5, widened where the image shrinks; float64."""
    scale = count_in / count_out
    centres = (np.arange(count_out) + 0.5) * scale
    x = np.abs((np.arange(count_in) + 0.5 - centres[:, None]) / max(scale, 1))
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


def test_crop_and_flip_equal_float64_arithmetic_up_to_rounding(photo_root):
    """A crop resized in double precision, from boxes and flips drawn apart from the code under test."""
    dataset = open_dataset(photo_root, "pretrain")
    for index in range(16):
        image = np.asarray(Image.open(dataset.images.file(index).decode()).convert("RGB"), np.float64)
        height, width = image.shape[:2]
        rng = sample_rng(7, 0, index)
        while True:
            area = height * width * (0.2 + 0.8 * rng.random())
            ratio = np.exp(np.log(3 / 4) + np.log(16 / 9) * rng.random())
            h, w = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
            if h <= height and w <= width:
                break
        top, left = int(rng.random() * (height - h + 1)), int(rng.random() * (width - w + 1))
        crop = image[top : top + h, left : left + w]
        rows = np.einsum("hwc,xw->hxc", crop, bicubic_weights(w, 24)).clip(0, 255)
        wanted = np.einsum("yh,hxc->yxc", bicubic_weights(h, 24), rows).clip(0, 255)
        wanted = wanted[:, ::-1] if rng.random() < 0.5 else wanted
        # Rounded to 8 bits after each of the two passes.
        assert np.abs(dataset[(0, index)][0] - wanted).max() < 1.3
