"""The compiled part against Pillow, and what happens without it."""

import io
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images import native_code
from mae_data.images.formats import open_image
from mae_data.images.jpeg import JpegImage, open_lazily
from mae_data.images.native_code import native, pillow_resized, resized

BICUBIC = Image.Resampling.BICUBIC
needs_library = pytest.mark.skipif(
    not native_code.LIBRARY.exists() and shutil.which("cc") is None, reason="no C compiler (cc)"
)
KINDS = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "low quality": {"quality": 20},
    "optimised": {"optimize": True, "quality": 98},
}


def random_box(rng, size):
    height, width = (int(rng.integers(1, side + 1)) for side in size)
    return int(rng.integers(0, size[0] - height + 1)), int(rng.integers(0, size[1] - width + 1)), height, width


def random_request(rng, size):
    """Draw a box of an image, the size to resize it to, a window of that, and whether to mirror."""
    target = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
    window = random_box(rng, target) if rng.random() < 0.3 else None
    return random_box(rng, size), target, window, bool(rng.random() < 0.5)


def by_pillow(image, box, size, window, flip):
    """Crop, resize rows, then columns, cut the window and mirror, with Pillow's own steps."""
    top, left, height, width = box
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((size[1], height), BICUBIC).resize((size[1], size[0]), BICUBIC)
    array = np.asarray(image).reshape(*size, -1)
    top, left, height, width = window or (0, 0, *size)
    return array[top : top + height, left : left + width][:, :: -1 if flip else 1]


@needs_library
def test_the_library_is_there_where_a_compiler_is():
    assert native() is not None


@needs_library
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_resizing_equals_pillow(mode, make_photo):
    rng = np.random.default_rng(1)
    for number in range(150):
        size = int(rng.integers(1, 200)), int(rng.integers(1, 200))
        image = make_photo(size[1], size[0], number, mode)
        request = random_request(rng, size)
        np.testing.assert_array_equal(resized(image, *request), by_pillow(image, *request), str(request))


@needs_library
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_resizing_takes_any_number_of_channels_with_or_without_vector_code(channels):
    """One channel at a time, Pillow is the yardstick; more than three channels take the plain code for rows."""
    pixels_ = np.random.default_rng(0).integers(0, 256, (70, 90, channels), np.uint8)
    got = native().resize(pixels_, (3, 5, 60, 80), (31, 27))
    for channel in range(channels):
        plane = Image.fromarray(pixels_[:, :, channel])
        np.testing.assert_array_equal(
            got[:, :, channel], by_pillow(plane, (3, 5, 60, 80), (31, 27), None, False)[..., 0]
        )


@needs_library
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (4, 4000)])
def test_resizing_extreme_shapes(size, make_photo):
    image = make_photo(size[1], size[0])
    box = (0, 0, *size)
    for target in ((1, 1), (7, 300), (64, 64)):
        np.testing.assert_array_equal(resized(image, box, target), by_pillow(image, box, target, None, False))


@needs_library
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", ["RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_of_a_jpeg_file_equals_pillows(kind, stored, channels, make_photo, as_jpeg):
    """Whatever the sampling of the colours and wherever the crop, decoding a part gives the pixels of the whole."""
    rng = np.random.default_rng(2)
    for number in range(12):
        size = int(rng.integers(1, 300)), int(rng.integers(1, 300))
        data = as_jpeg(make_photo(size[1], size[0], number, stored), **KINDS[kind])
        image = Image.open(io.BytesIO(data)).convert("RGB" if channels == 3 else "L")
        request = random_request(rng, size)
        got = native().crop_jpeg(data, *request, channels=channels)
        np.testing.assert_array_equal(got, by_pillow(image, *request), str((size, request)))
        whole = native().decode_jpeg(data, size, channels)
        np.testing.assert_array_equal(whole, np.asarray(image).reshape(*size, channels))
        assert native().jpeg_size(data) == size


@needs_library
def test_fast_decoding_is_close_and_leaves_small_crops_alone(make_photo, as_jpeg):
    image = make_photo(1200, 900)
    data = as_jpeg(image)
    box = (10, 20, 880, 1100)
    exact, fast = (native().crop_jpeg(data, box, (96, 96), fast=fast).astype(int) for fast in (False, True))
    difference = np.abs(exact - fast)
    assert 0 < difference.mean() < 0.6
    assert difference.max() < 24
    for size in ((224, 400), (500, 96)):  # shrunk by two, the crop would have less than twice this
        exact, fast = (native().crop_jpeg(data, box, size, fast=fast) for fast in (False, True))
        np.testing.assert_array_equal(exact, fast)


def save(path, data):
    path.write_bytes(data)
    return path


@needs_library
def test_usual_jpeg_files_are_left_undecoded(tmp_path, make_photo, as_jpeg):
    path = save(tmp_path / "a.jpg", as_jpeg(make_photo(60, 40)) + b"\0\0")
    image = open_lazily(path.read_bytes())
    assert isinstance(image, JpegImage)
    assert (image.width, image.height, image.getbands()) == (60, 40, ("R", "G", "B"))
    assert open_lazily(path.read_bytes(), channels=1).getbands() == ("L",)
    np.testing.assert_array_equal(
        image.resized((1, 2, 30, 40), (16, 16)), by_pillow(open_image(path), (1, 2, 30, 40), (16, 16), None, False)
    )


@needs_library
@pytest.mark.parametrize("kind", ["cmyk", "png", "trailing bytes", "other name"])
def test_what_is_unusual_is_decoded_by_pillow(tmp_path, kind, make_photo, as_jpeg):
    photo = make_photo(60, 40)
    path = tmp_path / "a.jpg"
    if kind == "png":
        photo.save(path, "PNG")
    elif kind == "other name":
        photo.save(tmp_path / "a.tif")
        path = tmp_path / "a.tif"
    else:
        save(path, as_jpeg(photo.convert("CMYK")) if kind == "cmyk" else as_jpeg(photo) + b"more")
    image = open_lazily(path.read_bytes())
    assert isinstance(image, Image.Image)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(open_image(path)))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused_even_where_the_crop_is_whole(tmp_path, share, make_photo, as_jpeg):
    data = as_jpeg(make_photo(64, 64))
    path = save(tmp_path / "a.jpg", data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"cannot decode the image|not an image"):
        open_lazily(path.read_bytes())


@needs_library
def test_damage_in_the_middle_is_left_to_pillow(tmp_path, make_photo, as_jpeg):
    """Pillow decodes what it can of damaged data, and so does the lazy image: with Pillow itself."""
    data = bytearray(as_jpeg(make_photo(200, 200), restart_marker_blocks=2))
    middle = len(data) // 2
    data[middle : middle + 60] = b"\xff\x00" * 30
    image = open_lazily(save(tmp_path / "a.jpg", bytes(data)).read_bytes())
    box = (50, 0, 150, 200)
    assert native().crop_jpeg(bytes(data), box, (32, 32)) is None
    wanted = by_pillow(open_image(tmp_path / "a.jpg"), box, (32, 32), None, False)
    np.testing.assert_array_equal(image.resized(box, (32, 32)), wanted)


@needs_library
def test_random_bytes_never_crash_the_library(make_photo, as_jpeg):
    rng = np.random.default_rng(3)
    data = as_jpeg(make_photo(120, 90), progressive=True)
    refused = 0
    for _ in range(300):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 4):
            broken[place] = int(rng.integers(0, 256))
        size = native().jpeg_size(bytes(broken))
        if size and size[0] * size[1] < 10**6:
            refused += native().crop_jpeg(bytes(broken), (0, 0, *size), (16, 16)) is None
    assert refused > 50


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PATH": "", **environment}
    )


def test_without_the_library_pillow_gives_the_same_pixels(monkeypatch, make_photo):
    rng = np.random.default_rng(4)
    image = make_photo(120, 80)
    requests = [random_request(rng, (80, 120)) for _ in range(20)]
    with_it = [resized(image, *request) for request in requests]
    monkeypatch.setattr(native_code, "native", lambda: None)
    for request, wanted in zip(requests, with_it, strict=True):
        np.testing.assert_array_equal(resized(image, *request), wanted)
        np.testing.assert_array_equal(pillow_resized(image, *request), wanted)


def test_a_missing_library_is_said_once(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(native_code, "LIBRARY", tmp_path / "none.so")
    native.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert native() is None
        assert native() is None
    native.cache_clear()
    (record,) = caplog.records
    assert "decoded and resized by Pillow alone" in record.message


@needs_library
def test_a_library_with_other_pixels_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(native_code.Native, "crop_jpeg", lambda self, data, box, size: np.zeros((*size, 3), np.uint8))
    native.cache_clear()
    assert native() is None
    native.cache_clear()
    assert "its pixels are not those of Pillow" in caplog.text


def test_the_choice_is_an_environment_variable():
    ask = "from mae_data.images.native_code import native; print(native())"
    assert run_python(ask, MAE_DATA_PIXELS="pillow").stdout == "None\n"
    assert "MAE_DATA_PIXELS=simd; use one of auto, native, pillow" in run_python(ask, MAE_DATA_PIXELS="simd").stderr
    missing = "from mae_data import pixels; native_code.LIBRARY = native_code.LIBRARY / 'no'; native_code.native()"
    assert "MAE_DATA_PIXELS=native, but" in run_python(missing, MAE_DATA_PIXELS="native").stderr


def test_a_missing_library_is_said_once_for_all_workers(tmp_path, make_photo, as_jpeg):
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_bytes(as_jpeg(make_photo(40, 30, i)))
    (tmp_path / "train_list.txt").write_text("".join(f"{i}.jpg\n" for i in range(8)))
    program = f"""
import zlib, logging, sys
from mae_data.images import native_code
native_code.LIBRARY = native_code.LIBRARY / "none"
logging.basicConfig()
from mae_data import ListDataset, make_pretrain_transform
from mae_data.loading.worker_pool import WorkerPool
dataset = ListDataset({str(tmp_path)!r}, "train_list.txt", make_pretrain_transform(image_size=8), labels="optional")
with WorkerPool(dataset, 2, 2, 60, "", lambda: False) as pool:
    print(len(list(pool.batches([[(0, i), (0, i + 1)] for i in range(7)], lambda *arrays: 1))))
"""
    done = run_python(program)
    assert done.stdout == "7\n", done.stderr
    assert done.stderr.count("decoded and resized by Pillow alone") == 1
