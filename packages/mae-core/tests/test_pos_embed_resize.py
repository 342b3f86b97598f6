"""Resized position embeddings against cubic convolution written out in NumPy."""

import numpy as np
import pytest

import mae_core  # noqa: F401
from mae_core.models import pixel_statistics
from mae_core.weights.positions import resize_positions


def cubic_matrix(old, new):
    """[new, old] weights of cubic convolution (Keys, a = -0.75), half-pixel centres, edges repeated; float64."""
    a, matrix = -0.75, np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        first = int(np.floor(centre)) - 1
        for j in range(first, first + 4):
            x = abs(centre - j)
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            matrix[i, min(max(j, 0), old - 1)] += near if x <= 1 else far if x < 2 else 0.0
    return matrix


@pytest.mark.parametrize(("old", "new"), [((14, 14), (28, 28)), ((4, 6), (7, 5)), ((6, 4), (3, 4)), ((8, 2), (4, 4))])
def test_resizing_is_bicubic_in_both_directions(old, new):
    pos = np.random.default_rng(0).standard_normal((1, 1 + old[0] * old[1], 8)).astype("float32")
    resized = resize_positions(pos, old, new)
    grid = pos[0, 1:].astype("float64").reshape(*old, 8)
    expected = np.einsum("ir,jc,rcd->ijd", cubic_matrix(old[0], new[0]), cubic_matrix(old[1], new[1]), grid)
    np.testing.assert_array_equal(resized[:, 0], pos[:, 0])
    np.testing.assert_allclose(resized[0, 1:], expected.reshape(-1, 8), atol=3e-6)


def test_imagenets_statistics_are_for_three_channels_only():
    imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert pixel_statistics(3, *map(list, imagenet)) == imagenet
    assert pixel_statistics(1, *imagenet) == ((0.5,), (0.5,))
    assert pixel_statistics(1, [0.1], [0.2]) == ((0.1,), (0.2,))
