"""Whole images by windows: averaged where they overlap, at the image's own size, a few rows at a time."""

import numpy as np
import paddle
import pytest
from PIL import Image

from mae_core.errors import NonFiniteError
from mae_core.training.precision import Precision
from mae_data.images.windows import Window
from mae_finetune.segmentation.sliding import Canvas, Segmenter


class Fake(paddle.nn.Layer):
    """Scores that depend on the pixel and on its place in the window, so that it counts which windows are averaged."""

    img_size, in_chans = (16, 24), 3

    def forward(self, images):
        _, h, w, _ = images.shape
        pixels = images.astype("float32").transpose([0, 3, 1, 2])
        place = paddle.arange(h, dtype="float32").reshape([1, 1, h, 1]) * paddle.arange(w, dtype="float32")
        return pixels + place


def segmented(pictures, **options):
    strips = list(Segmenter(Fake(), Precision(False), **options).segment(pictures))
    found = {}
    for strip in strips:
        rows = found.setdefault(strip.name, [])
        assert strip.top == sum(r.shape[1] for r in rows)
        rows.append(strip.scores.numpy())
    return {name: np.concatenate(rows, axis=1) for name, rows in found.items()}


def starts(length, side, step):
    return [*range(0, length - side, step), length - side]


@pytest.mark.parametrize("overlap", [None, 0, 1, 9, 15])
def test_pixels_have_the_mean_of_the_windows_on_them(overlap):
    rng = np.random.default_rng(0)
    sizes = {"a": (16, 24), "b": (37, 24), "c": (16, 60), "d": (71, 55)}
    images = {name: rng.integers(0, 256, (*size, 3), np.uint8) for name, size in sizes.items()}
    found = segmented([(name, Image.fromarray(i)) for name, i in images.items()], overlap=overlap, batch_size=5)
    step = 16 // 3 if overlap is None else overlap
    for name, image in images.items():
        height, width = sizes[name]
        sums, counts = np.zeros((3, height, width)), np.zeros((height, width))
        for y in starts(height, 16, 16 - step):
            for x in starts(width, 24, 24 - step):
                sums[:, y : y + 16, x : x + 24] += image[y : y + 16, x : x + 24].transpose(2, 0, 1)
                sums[:, y : y + 16, x : x + 24] += np.outer(np.arange(16), np.arange(24))
                counts[y : y + 16, x : x + 24] += 1
        np.testing.assert_allclose(found[name], sums / counts, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (8, 12), (5, 200), (100, 20), (15, 24)])
def test_a_small_image_is_enlarged_and_its_scores_have_its_size(size):
    image = np.full((*size, 3), 7, np.uint8)

    class Constant(Fake):
        def forward(self, images):
            assert images.shape[1:3] == [16, 24]
            return images.astype("float32").transpose([0, 3, 1, 2])

    strips = list(Segmenter(Constant(), Precision(False)).segment([("a", Image.fromarray(image))]))
    whole = np.concatenate([strip.scores.numpy() for strip in strips], axis=1)
    assert whole.shape == (3, *size)
    np.testing.assert_allclose(whole, 7, rtol=1e-6)
    assert [strip.last for strip in strips] == [False] * (len(strips) - 1) + [True]


def test_few_rows_of_a_long_image_are_held():
    windows = Segmenter(Fake(), Precision(False), overlap=5).windows(1600, 24)
    canvas, held = Canvas(windows), []
    for window in windows:
        list(canvas.add(window, paddle.zeros([2, 16, 24])))
        held.append(0 if canvas._open is None else canvas._open.shape[1])
    assert max(held) <= 16
    assert held[-1] == 0


def test_an_output_that_is_not_finite_is_named():
    class Broken(Fake):
        def forward(self, images):
            return super().forward(images) / 0.0

    with pytest.raises(NonFiniteError, match="the model's output for list:3 is not finite"):
        list(Segmenter(Broken(), Precision(False)).segment([("list:3", Image.new("RGB", (24, 16)))]))


def test_windows_of_a_window_are_one():
    assert Segmenter(Fake(), Precision(False)).windows(16, 24) == [Window(0, 0, 16, 24)]
