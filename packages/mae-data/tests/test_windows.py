"""Windows that cover an image, as samples and stitched to a map."""

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.nodata import as_nodata
from mae_data.images.value_range import Planes, as_value_range
from mae_data.images.windows import Window, sliding_windows, stitched
from mae_data.loading.bad_images import BadImages
from mae_data.loading.image_windows import ImageWindows
from mae_data.loading.loader import make_loader
from mae_data.loading.preprocess import as_image
from mae_data.loading.sampler import EvalBatchSampler


@pytest.mark.parametrize("overlap", [0, 1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(5, 7), (5, 8), (17, 31), (20, 21)])
def test_windows_cover_an_image_and_overlap_as_stated(height, width, overlap):
    windows = sliding_windows(height, width, (5, 7), overlap)
    covered = np.zeros((height, width), int)
    for window in windows:
        assert (window.height, window.width) == (5, 7)
        assert window.row + 5 <= height
        assert window.column + 7 <= width
        covered[window.row : window.row + 5, window.column : window.column + 7] += 1
    assert covered.min() >= 1
    assert len(set(windows)) == len(windows)
    assert windows == sorted(windows)
    columns = sorted({window.column for window in windows})
    steps = np.diff(columns)
    assert (steps[:-1] == 7 - overlap).all()
    assert (steps[-1:] <= 7 - overlap).all()


@pytest.mark.parametrize("overlap", [-1, 5, 9])
def test_an_overlap_leaves_a_step(overlap):
    with pytest.raises(ValueError, match=rf"overlap={overlap} of windows of 5x5"):
        sliding_windows(20, 20, 5, overlap)


@pytest.mark.parametrize(("height", "width"), [(4, 20), (20, 4)])
def test_an_image_is_no_smaller_than_a_window(height, width):
    with pytest.raises(DataError, match=f"{width}x{height} pixels are less than a window of 5x5"):
        sliding_windows(height, width, 5)


@pytest.mark.parametrize("cell", [(3, 4), (5, 7), (1, 1), (20, 40)])
@pytest.mark.parametrize("overlap", [0, 2])
def test_a_map_is_the_mean_over_the_pixels_of_its_cells(cell, overlap):
    height, width = 17, 24
    windows = sliding_windows(height, width, (5, 7), overlap)
    values = np.random.default_rng(0).random((len(windows), 3))
    got = stitched(windows, values, height, width, cell)
    sums, counts = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    for window, value in zip(windows, values, strict=True):
        place = slice(window.row, window.row + 5), slice(window.column, window.column + 7)
        sums[place] += value
        counts[place] += 1
    for row in range(got.shape[0]):
        for column in range(got.shape[1]):
            part = (
                slice(row * cell[0], (row + 1) * cell[0]),
                slice(column * cell[1], (column + 1) * cell[1]),
            )
            expected = sums[part].sum(axis=(0, 1)) / counts[part].sum(axis=(0, 1))
            np.testing.assert_allclose(got[row, column], expected, rtol=1e-6)
    assert got.shape[:2] == (-(-height // cell[0]), -(-width // cell[1]))


def pictures(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + i, 30 - i, 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_are_samples_in_the_order_of_the_images(workers):
    pixels = pictures(3)
    read = [
        lambda: Image.fromarray(pixels[0]),
        lambda: Planes(pixels[1], as_value_range(255)),
        lambda: Image.fromarray(pixels[2]),
    ]
    dataset = ImageWindows(lambda i: read[i](), 3, (8, 6), 3, 2, np.array([5, 6, 7]))
    assert dataset.sizes == {0: (20, 30), 1: (21, 29), 2: (22, 28)}
    expected = [(i, window) for i in range(3) for window in sliding_windows(20 + i, 30 - i, (8, 6), 2)]
    assert [(int(i), window) for i, window in zip(dataset.images, dataset.windows, strict=True)] == expected
    got = list(make_loader(dataset, EvalBatchSampler(len(dataset), 7), num_workers=workers))
    images, labels, indices = (np.concatenate([part.numpy() for part in parts]) for parts in zip(*got, strict=True))
    assert indices.tolist() == list(range(len(expected)))
    assert labels.tolist() == [5 + i for i, _ in expected]
    for image, (i, window) in zip(images, expected, strict=True):
        assert isinstance(window, Window)
        np.testing.assert_array_equal(image, pixels[i][window.row :, window.column :][:8, :6])


def test_images_that_cannot_be_used_have_no_windows():
    pixels = pictures(3)

    def read(i):
        if i == 1:
            raise DataError("b.png: damaged")
        return Image.fromarray(pixels[i])

    with pytest.raises(DataError, match=r"b.png: damaged"):
        ImageWindows(read, 3, (8, 8), 3)
    bad = BadImages(3)
    assert set(ImageWindows(read, 3, (8, 8), 3, bad=bad).images.tolist()) == {0, 2}
    assert bad.indices() == [1]
    with pytest.raises(DataError, match="less than a window of 25x25"):
        ImageWindows(read, 1, (25, 25), 3)


def test_windows_mostly_without_data_are_left_out():
    pixels = np.full((8, 24, 2), 7, np.uint16)
    pixels[:, :8] = 0
    pixels[:, 8:11] = 0
    pixels[:, 16:21] = 0
    image = as_image(pixels, 2, as_value_range(65535), nodata=as_nodata(0, [0.5, 0.5], coverage=True))
    dataset = ImageWindows(lambda number: image, 1, (8, 8), 2, 0)
    samples = [dataset[(0, i)] for i in range(3)]
    assert [int(index) for _, _, index in samples] == [~0, 1, ~2]  # no, five eighths, and three eighths are data
    assert {sample.shape for sample, _, _ in samples} == {(8, 8, 2)}
    drawn = stitched([dataset.windows[1]], np.array([[0.25]]), 8, 24, (8, 8))
    np.testing.assert_array_equal(drawn[0, :, 0], [np.nan, 0.25, np.nan])
