"""Images with masks as samples: cut alike, checked, passed over where bad, through the loader."""

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.mask import MaskPicture
from mae_data.images.windows import fitting_size
from mae_data.loading.loader import make_loader
from mae_data.loading.mask_dataset import MaskDataset
from mae_data.loading.sampler import EvalBatchSampler
from mae_data.rng import sample_rng
from mae_data.transforms.native_crop import make_scale_transform
from mae_data.transforms.pipelines import make_eval_transform

SIZE = (96, 128)


@pytest.fixture
def folder(tmp_path):
    """Six images whose colour tells the class; the list's first line is blank."""
    rng = np.random.default_rng(0)
    (tmp_path / "m").mkdir()
    lines = [""]
    for number in range(6):
        mask = np.kron(rng.integers(0, 4, (4, 4)), np.ones((SIZE[0] // 4, SIZE[1] // 4), int)).astype(np.uint8)
        Image.fromarray(np.repeat((mask * 80)[..., None], 3, axis=2)).save(tmp_path / f"{number}.png")
        Image.fromarray(mask).save(tmp_path / "m" / f"{number}.png")
        lines.append(f"{number}.png m/{number}.png")
    (tmp_path / "train_list.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def opened(folder, transform=None, **options):
    transform = transform or make_scale_transform(image_size=32, vflip=0.5, rotate90=True)
    return MaskDataset(folder, "train_list.txt", transform, **{"classes": 4} | options)


def test_a_sample_is_an_image_and_its_mask_cut_alike(folder):
    dataset = opened(folder)
    for key in [(epoch, index) for epoch in range(4) for index in range(6)]:
        image, mask, index = dataset[key]
        assert (image.shape, mask.shape, mask.dtype, index) == ((32, 32, 3), (32, 32), np.uint8, key[1])
        # Bicubic edges lie between the classes: away from them, colour tells the class.
        assert (np.rint(image[:, :, 0] / 80) == mask).mean() > 0.85
        assert np.array_equal(mask, dataset[key][1])
    assert not np.array_equal(dataset[0, 0][1], dataset[1, 0][1])


def test_masks_come_through_the_loader(folder):
    dataset = opened(folder)
    for workers in (0, 2):
        batches = list(make_loader(dataset, EvalBatchSampler(6, 4), num_workers=workers))
        masks = np.concatenate([batch.labels.numpy() for batch in batches])
        assert np.array_equal(masks, np.stack([dataset[0, i][1] for i in range(6)]))


def test_many_classes_have_room(folder):
    dataset = opened(folder, classes=300, ignore=255)
    assert dataset.target_type.dtype == "int32"
    assert dataset[0][1].dtype == np.int32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m[:, :-2], r"train_list.txt:4 \(m/2.png\): the mask has 126x96 pixels, its image 2.png 128x96"),
        (lambda m: m + 9 * (np.arange(128) == 5).astype(np.uint8), r"train_list.txt:4 \(m/2.png\): the mask holds 9"),
    ],
    ids=["size", "value"],
)
def test_a_mask_that_does_not_fit_is_named(folder, change, words):
    file = folder / "m" / "2.png"
    Image.fromarray(np.ascontiguousarray(change(np.zeros(SIZE, np.uint8)))).save(file)
    with pytest.raises(DataError, match=words):
        opened(folder)[0, 2]
    skipping = opened(folder, on_error="skip")
    assert skipping[0, 2][2] == 3
    assert skipping.skipped()[1].strip() == f"{folder}/train_list.txt:4 (2.png)"
    image, gone, index = opened(folder, make_eval_transform(image_size=32), on_error="drop", ignore=200)[0, 2]
    assert (index, image.max(), set(gone.ravel().tolist())) == (~2, 0, {200})


def test_a_missing_mask_is_named(folder):
    (folder / "m" / "4.png").unlink()
    with pytest.raises(DataError, match=r"train_list.txt:6 \(m/4.png\)"):
        opened(folder)[0, 4]


def test_ignored_pixels_pass(folder):
    mask = np.full(SIZE, 255, np.uint8)
    Image.fromarray(mask).save(folder / "m" / "0.png")
    assert (opened(folder)[0, 0][1] == 255).all()
    with pytest.raises(DataError, match=r"holds 255, in 12288 pixels; classes are 0 to 3, and 200 is ignored"):
        opened(folder, ignore=200)[0, 0]


def test_a_run_tells_masks_apart(folder):
    first = opened(folder).fingerprint()
    text = (folder / "train_list.txt").read_text().replace("m/5", "m/4")
    (folder / "train_list.txt").write_text(text)
    assert opened(folder).fingerprint() != first


@pytest.mark.parametrize(
    ("image", "size", "expected"),
    [
        ((100, 200), (64, 64), (64, 64)),
        ((48, 640), (64, 32), (48, 24)),
        ((9, 100), (64, 64), (9, 9)),
        ((1, 1), (64, 32), (1, 1)),
    ],
)
def test_a_window_fits_its_image(image, size, expected):
    assert fitting_size(size, image) == expected


@pytest.mark.parametrize("image", [(200, 300), (40, 50), (30, 400), (1, 1)])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0), (4.0, 4.0)])
def test_scale_is_that_of_evaluation(image, scale):
    """The mask counts columns and rows, so that a crop tells where it lies and how large."""
    transform = make_scale_transform(image_size=(64, 32), scale=scale, hflip=0)
    window = fitting_size((64, 32), image)
    for sample in range(30):
        across = transform(MaskPicture(np.tile(np.arange(image[1]), (image[0], 1))), sample_rng(0, 0, sample))[:, :, 0]
        down = transform(MaskPicture(np.arange(image[0])[:, None] * np.ones(image[1], int)), sample_rng(0, 0, sample))
        shown = np.ptp(down) + 1, np.ptp(across) + 1
        for side, whole, part, crop in zip(window, image, shown, (64, 32), strict=True):
            largest, least = min(whole, side / scale[0] + 1), side / scale[1]
            assert least - 1 - part / crop <= part <= largest
