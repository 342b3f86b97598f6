"""Images of any kind into the pixels of evaluation, without Paddle."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mae_data import find_images, make_eval_transform, open_image, preprocess
from mae_data.errors import DataError, InputError


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize(("size", "crop_pct"), [(8, None), ((8, 6), 0.7), (8, 1.0)])
def test_pixels_are_those_of_the_evaluation_transform(image_root, channels, size, crop_pct):
    files = sorted(image_root.glob("0*.png"))
    transform = make_eval_transform(image_size=size, crop_pct=crop_pct)
    expected = np.stack([transform(open_image(file, channels), np.random.default_rng(0)) for file in files])
    found = preprocess(files, size, crop_pct, channels=channels)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


def test_a_path_a_picture_and_an_array_are_the_same_image(image_root):
    file = image_root / "03.png"
    picture = Image.open(file)
    array = np.asarray(picture)
    memory = io.BytesIO(file.read_bytes())
    for image in (file, str(file), memory, [memory], picture, array, array[None], [array], iter([picture])):
        np.testing.assert_array_equal(preprocess(image, 8), preprocess(file, 8))
    grey = preprocess(array[..., :1], 8)
    np.testing.assert_array_equal(grey, preprocess(array[..., 0], 8))
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    rgba = picture.convert("RGBA")
    np.testing.assert_array_equal(preprocess(rgba, 8), preprocess(file, 8))
    assert rgba.mode == "RGBA"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "no image"),
        (3, "type int"),
        ([3], "type int"),
        (np.zeros((2, 4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((4, 4, 5), np.uint8), r"\[4, 4, 5\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
    ],
)
def test_what_is_no_image_is_refused_by_name(images, words):
    with pytest.raises(InputError, match=words):
        preprocess(images, 8)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nope\.jpg.*No such file"):
        preprocess(tmp_path / "nope.jpg", 8)
    with pytest.raises(DataError, match="32-bit pixels"):
        preprocess(Image.new("F", (4, 4)), 8)


def test_folders_become_their_images(save_image, tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a.png", ".hidden.png"):
        save_image(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").write_text("no image")
    found = find_images([tmp_path / "x.png", tmp_path / "photos"])
    assert found == [str(tmp_path / name) for name in ("x.png", "photos/a.png", "photos/b/1.JPG", "photos/b/2.png")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no images"):
        find_images([tmp_path / "empty"])


def test_it_needs_no_paddle():
    code = "import sys, mae_data; mae_data.preprocess; assert 'paddle' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_stands_for_its_images(tmp_path):
    paths = [tmp_path / "b/1.png", tmp_path / "a/2.png"]
    for value, path in enumerate(paths):
        path.parent.mkdir()
        Image.fromarray(np.full((8, 8), 100 * value, np.uint8)).save(path)
    whole = preprocess(tmp_path, 8, channels=1)
    np.testing.assert_array_equal(whole, preprocess(sorted(paths), 8, channels=1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no images"):
        preprocess(tmp_path / "empty", 8)
