"""Masks as data: read without conversion, cut and turned as their images, paired by lists or folders."""

import io

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.mask import MaskPicture, read_mask, write_mask
from mae_data.rng import sample_rng
from mae_data.sources.list_file import count_classes
from mae_data.sources.mask_pairs import open_pairs
from mae_data.transforms.pipelines import make_eval_transform, make_pretrain_transform

CLASSES = np.random.default_rng(0).integers(0, 5, (12, 9)).astype(np.uint8)


def saved(image, name, **options):
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def palette():
    image = Image.fromarray(CLASSES, "P")
    image.putpalette([7 * i % 256 for i in range(768)])
    return saved(image, "PNG")


def array(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(Image.fromarray(CLASSES), "PNG"), CLASSES),
        (palette(), CLASSES),
        (saved(Image.fromarray(CLASSES > 2), "PNG"), CLASSES > 2),
        (saved(Image.fromarray(CLASSES.astype(np.uint16) * 300), "PNG"), CLASSES.astype(np.uint16) * 300),
        (saved(Image.fromarray(CLASSES), "TIFF"), CLASSES),
        (array(CLASSES.astype(np.int64) + 300), CLASSES.astype(np.uint16) + 300),
    ],
    ids=["grey", "palette", "one bit", "16 bits", "tiff", "npy"],
)
def test_values_are_read_as_they_are(data, expected):
    found = read_mask(io.BytesIO(data))
    assert found.dtype == (np.uint16 if expected.max() > 255 else np.uint8)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (saved(Image.fromarray(CLASSES), "JPEG"), "neither PNG, TIFF nor .npy"),
        (saved(Image.new("RGB", (3, 3)), "PNG"), r"a mask of colours \(RGB\); save the number of the class"),
        (array(CLASSES.astype(np.float32)), "a mask of float32 values"),
        (array(CLASSES.astype(np.int32) - 2), "values from -2 to 2; classes are 0 to 65535"),
        (array(np.zeros((4, 4, 3), np.uint8)), "a mask of 3 bands"),
        (b"", "neither PNG"),
        (palette()[:80], "image"),
    ],
)
def test_what_holds_no_classes_is_refused(data, words):
    with pytest.raises(DataError, match=words):
        read_mask(io.BytesIO(data))


@pytest.mark.parametrize("options", [{}, {"vflip": 0.5, "rotate90": True}])
def test_a_mask_is_cut_and_turned_as_its_image(options):
    """Where each class has a grey of its own and regions are large, the resized image shows the resized mask."""
    mask = np.kron(np.random.default_rng(1).integers(0, 4, (4, 4)), np.ones((24, 30), int)).astype(np.uint8)
    picture = Image.fromarray(mask * 80)
    transform = make_pretrain_transform(image_size=(48, 64), scale=(0.3, 1.0), **options)
    for sample in range(20):
        pixels = transform(picture, sample_rng(0, 0, sample))[:, :, 0]
        classes = transform(MaskPicture(mask), sample_rng(0, 0, sample))[:, :, 0]
        assert classes.shape == (48, 64)
        assert set(np.unique(classes)) <= set(range(4))
        agree = np.rint(pixels / 80) == classes
        assert agree.mean() > 0.93  # all but the borders


def test_the_nearest_pixel_is_pillows():
    found = MaskPicture(CLASSES).resized((2, 1, 7, 5), (16, 13), None, flip=True)[:, :, 0]
    cut = Image.fromarray(CLASSES).crop((1, 2, 6, 9)).resize((13, 16), Image.Resampling.NEAREST)
    assert np.array_equal(found, np.asarray(cut)[:, ::-1])
    window = MaskPicture(CLASSES).resized((0, 0, 12, 9), (24, 18), (3, 4, 10, 7))[:, :, 0]
    whole = np.asarray(Image.fromarray(CLASSES).resize((18, 24), Image.Resampling.NEAREST))
    assert np.array_equal(window, whole[3:13, 4:11])
    assert make_eval_transform(image_size=8)(MaskPicture(CLASSES)).shape == (8, 8, 1)


def write(root, name, content=b"x"):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def test_pairs_of_a_list(tmp_path):
    write(tmp_path, "train_list.txt", b"a.jpg m/a.png\n\nb c.jpg\tm/b c.png\r\n")
    pairs = open_pairs(tmp_path, "train_list.txt")
    assert [pairs.images.path(i) for i in range(2)] == ["a.jpg", "b c.jpg"]
    assert [pairs.masks.path(i) for i in range(2)] == ["m/a.png", "m/b c.png"]
    assert pairs.masks.describe(1).endswith("train_list.txt:3 (m/b c.png)")
    write(tmp_path, "other.txt", b"a.jpg m/b.png\n")
    assert pairs.fingerprint() != open_pairs(tmp_path, "other.txt").fingerprint()


def test_pairs_of_folders(tmp_path):
    for name in ("images/train/x/1.jpg", "images/train/2.tif", "masks/train/x/1.png", "masks/train/2.png"):
        write(tmp_path, name)
    for name in ("masks/train/unused.png", "images/val/9.jpg", "masks/val/9.npy"):
        write(tmp_path, name)
    train, val = (open_pairs(tmp_path, f"{part}_list.txt") for part in ("train", "val"))
    assert [train.masks.path(i) for i in range(2)] == ["masks/train/2.png", "masks/train/x/1.png"]
    assert [train.images.path(i) for i in range(2)] == ["images/train/2.tif", "images/train/x/1.jpg"]
    assert (val.images.path(0), val.masks.path(0)) == ("images/val/9.jpg", "masks/val/9.npy")
    assert val.images.read(0) == b"x"
    assert count_classes(tmp_path) == 0  # these folders are no classes


@pytest.mark.parametrize(
    ("files", "part", "words"),
    [
        ({"train_list.txt": b"a.jpg\nb.jpg b.png c.png\n"}, "train", r":1: 1 paths, two are needed[\s\S]*:2: 3 paths"),
        ({"train_list.txt": b"a.jpg ../b.png\n"}, "train", r":1: path '../b.png' leaves the root by `..`"),
        ({"train_list.txt": b"\n"}, "train", "the list is empty"),
        (
            {"train_list.txt": b"a b c.jpg 3\nb.jpg 4\n"},
            "train",
            r"^[^\n]* names classes \(class 3 beside a b c.jpg\), .*$",
        ),
        ({"images/1.jpg": b"", "masks/2.png": b""}, "train", "no mask for 1 of 1 images: 1"),
        ({"images/1.jpg": b"", "masks/1.png": b""}, "val", "no folders train/ and val/"),
        ({"images/train/1.jpg": b"", "masks/train/1.png": b""}, "val", "has no folder val/"),
        ({"images/.keep": b"", "masks/1.png": b""}, "train", "there are no images"),
        ({"1.jpg": b""}, "train", "there is no such list, and .* has no folder images/"),
    ],
)
def test_pairs_that_are_not_whole_are_named(tmp_path, files, part, words):
    for name, content in files.items():
        write(tmp_path, name, content)
    with pytest.raises(DataError, match=words):
        open_pairs(tmp_path, f"{part}_list.txt")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_written_is_read(tmp_path, dtype):
    classes = CLASSES.astype(dtype) * (300 if dtype == np.uint16 else 1)
    colours = np.arange(15, dtype=np.uint8).reshape(5, 3)
    write_mask(tmp_path / "new" / "a.png", classes, colours)
    assert np.array_equal(read_mask(tmp_path / "new" / "a.png"), classes)
    image = Image.open(tmp_path / "new" / "a.png")
    if dtype == np.uint8:
        assert image.getpalette()[:15] == list(range(15))
