"""Arrays of many images as data sets: NumPy's and the MNIST family's."""

import gzip
import json
import os
import time

import numpy as np
import pytest

from mae_data import ListDataset, make_eval_transform
from mae_data.cli import main
from mae_data.errors import DataError
from mae_data.images.stored import read_image
from mae_data.images.value_range import EIGHT_BITS, as_value_range
from mae_data.sources.list_file import count_classes
from mae_data.sources.open_source import open_source

NUMBERS = np.random.default_rng(0)
KINDS = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array):
    """The bytes of an array as the MNIST page describes them."""
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, KINDS[array.dtype.str.lstrip("|").replace("<", ">")], array.ndim]) + sides + array.tobytes()


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def digits():
    train = NUMBERS.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    return {"train": (train, np.arange(60) % 10), "t10k": (train[:12, ::-1], np.arange(12) % 10)}


def make_mnist(root, digits, name="{}-{}-idx{}-ubyte", ending=""):
    for part, (images, labels) in digits.items():
        write(root / (name.format(part, "images", 3) + ending), idx(images))
        write(root / (name.format(part, "labels", 1) + ending), idx(labels.astype(np.uint8)))
    return root


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("name", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte", "emnist-letters-{}-{}-idx{}-ubyte",
                                  "{}_{}.idx"])  # fmt: skip
def test_mnist_is_a_source_as_it_is(tmp_path, digits, name, ending):
    root = make_mnist(tmp_path, digits, name, ending)
    for part, list_file in (("train", "train_list.txt"), ("t10k", "val_list.txt")):
        source, (images, labels) = open_source(root, list_file), digits[part]
        np.testing.assert_array_equal(source.labels, labels)
        data = ListDataset(root, list_file, make_eval_transform(image_size=28, crop_pct=1.0), channels=1)
        for i in (0, 11, 5):
            np.testing.assert_array_equal(data[i][0][..., 0], images[i])
    assert count_classes(root) == 10
    assert "60 images, 10 classes, from " in open_source(root).notes[0]


def test_grey_rows_repeat_over_rgb_as_pictures_do(tmp_path, digits):
    root = make_mnist(tmp_path, digits)
    data = ListDataset(root, "train_list.txt", make_eval_transform(image_size=28, crop_pct=1.0))
    np.testing.assert_array_equal(data[3][0], np.repeat(digits["train"][0][3][..., None], 3, 2))


def test_index_writes_lists_of_rows(tmp_path, digits, capsys):
    root = make_mnist(tmp_path, digits, ending=".gz")
    assert main(["index", str(root)]) == 0
    assert "60 images for training, 12 for validation, 10 classes" in capsys.readouterr().out
    lines = (root / "val_list.txt").read_text().splitlines()
    assert lines[3] == "t10k-images-idx3-ubyte.gz[3] 3"
    assert (root / "classes.txt").read_text().split() == list("0123456789")
    assert main(["verify", str(root), "--workers", "2"]) == 0
    assert "72 images checked, 0 bad, 0 duplicates" in capsys.readouterr().out
    assert main(["stats", str(root), "--channels", "1", "--workers", "1", "--json"]) == 0
    said, pixels = json.loads(capsys.readouterr().out), digits["train"][0] / 255
    assert said["mean"] == [pytest.approx(pixels.mean())]
    assert said["std"] == [pytest.approx(pixels.std())]
    assert (said["classes"], said["images_per_class"]["max"]) == (10, 6)
    right = digits["t10k"][0][7]
    np.testing.assert_array_equal(np.asarray(read_image(root / "t10k-images-idx3-ubyte.gz[7]", 1)), right)


@pytest.mark.parametrize(
    ("dtype", "shape", "value_range"),
    [("uint8", (20, 9, 8), 255), ("uint8", (20, 9, 8, 3), 255), ("uint8", (20, 9, 8, 5), 255),
     ("uint16", (20, 9, 8, 2), 65535), ("float32", (20, 9, 8), [0, 300]), (">u2", (20, 9, 8), 65535)],
)  # fmt: skip
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays(tmp_path, dtype, shape, value_range, order):
    images = NUMBERS.integers(0, 256, shape).astype(dtype)
    np.save(tmp_path / "train_images.npy", np.asarray(images, order=order))
    np.save(tmp_path / "train_labels.npy", np.arange(20)[:, None] % 2)
    limits, channels = as_value_range(value_range), shape[3] if len(shape) > 3 else 1
    source = open_source(tmp_path)
    assert len(source) + len(open_source(tmp_path, "val_list.txt")) == 20  # a tenth of each class is held out
    for i in (0, len(source) - 1):
        row = int(source.path(i).split("[")[1][:-1])
        mine = read_image(tmp_path / source.path(i), channels, limits)
        mine = np.atleast_3d(np.asarray(mine) if limits == EIGHT_BITS and channels in (1, 3) else mine.pixels)
        np.testing.assert_array_equal(mine, images[row].reshape(9, 8, channels))
        assert source.labels[i] == row % 2


def test_arrays_without_labels_are_for_pretraining(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((7, 9, 8), np.uint8))
    assert len(open_source(tmp_path, labels="optional")) == 7
    with pytest.raises(DataError, match=r"images.npy: labels are needed, and labels.npy is not there"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((7, 9, 8), "u1"), np.zeros(6, int), r"labels.npy: shape \(6,\); images.npy has 7 images, .* \(7,\)"),
        (np.zeros((7, 9, 8), "u1"), np.zeros((7, 2), int), r"labels.npy: shape \(7, 2\); .* allowed is \(7,\)"),
        (np.zeros((7, 9, 8), "u1"), np.zeros(7), r"labels.npy: float64 values; labels are integers from 0"),
        (np.zeros((7, 9, 8), "u1"), np.full(7, -2), r"labels.npy: labels from -2 to -2; allowed are 0 and above"),
        (np.zeros((7, 9), "u1"), np.zeros(7, int), r"images.npy: shape \(7, 9\) .* \[N, H, W\] and \[N, H, W, C\]"),
        (np.zeros((7, 9, 8), object), np.zeros(7, int), r"images.npy: object is not a type of pixels"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, images, labels, message, capsys):
    np.save(tmp_path / "images.npy", images, allow_pickle=True)
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)
    assert main(["index", str(tmp_path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


HOSTILE = {
    "cut off": (lambda data: data[:-5], r"cut off: shape \(60, 28, 28\)"),
    "header alone": (lambda data: data[:7], "its header is cut off"),
    "more than there is": (lambda data: data[:4] + b"\0\xff\xff\xff" + data[8:], r"cut off|promises 13,153 MB"),
    "of another kind": (lambda data: b"\0\0\x07\x03" + data[4:], "neither a .npy file nor IDX"),
    "labels as images": (lambda data: data[:3] + b"\1" + data[4:8] + bytes(60), r"shape \(60,\) is not one of images"),
}


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("case", HOSTILE)
def test_damaged_and_hostile_idx_files(tmp_path, digits, case, ending):
    root = make_mnist(tmp_path, digits, ending=ending)
    damage, message = HOSTILE[case]
    write(root / f"train-images-idx3-ubyte{ending}", damage(idx(digits["train"][0])))
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte{ending}: .*({message})"):
        open_source(root)


def test_more_images_than_anyone_has_are_refused(tmp_path):
    head = bytes([0, 0, 8, 3]) + b"".join(side.to_bytes(4, "big") for side in (20_000_000, 1, 1))
    write(tmp_path / "images.idx3.gz", head + bytes(20_000_000))
    with pytest.raises(DataError, match="20000000 images are above the limit of 10000000 in one file"):
        open_source(tmp_path, labels="optional")


def test_several_sets_in_one_folder_are_refused(tmp_path, digits):
    make_mnist(tmp_path, digits)
    make_mnist(tmp_path, digits, "emnist-{}-{}-idx{}-ubyte")
    with pytest.raises(DataError, match="are all of the part 'train'; give each a folder of its own"):
        open_source(tmp_path)


def test_changed_labels_are_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    root.mkdir()
    np.save(root / "images.npy", np.zeros((20, 9, 8), np.uint8))
    np.save(root / "labels.npy", np.zeros(20, int))
    long_ago = time.time_ns() - 10**12
    for path in (root / "images.npy", root / "labels.npy", root):
        os.utime(path, ns=(long_ago, long_ago))
    assert set(open_source(root).labels) == {0}
    np.save(root / "labels.npy", np.ones(20, int))
    os.utime(root, ns=(long_ago, long_ago))
    assert set(open_source(root).labels) == {1}
