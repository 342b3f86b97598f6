"""Which pixel statistics a model gets."""

import mae_core  # noqa: F401
from mae_core.models import pixel_statistics


def test_imagenets_statistics_are_for_three_channels_only():
    imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert pixel_statistics(3, *map(list, imagenet)) == imagenet
    assert pixel_statistics(1, *imagenet) == ((0.5,), (0.5,))
    assert pixel_statistics(1, [0.1], [0.2]) == ((0.1,), (0.2,))
