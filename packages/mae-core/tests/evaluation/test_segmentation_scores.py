"""Scores of segmentations against scikit-learn's confusion matrix and Jaccard score."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from mae_core.evaluation.segmentation import SegmentationScores


def test_figures_are_scikit_learns_over_all_pixels():
    rng = np.random.default_rng(0)
    scores = SegmentationScores(6, ignore=9)
    truths, predictions = [], []
    for shape in ((7, 5), (3, 11)):  # class 5 never occurs
        truth, predicted = rng.choice([0, 1, 2, 3, 4, 9], shape), rng.integers(0, 5, shape)
        scores.add(predicted.astype(np.uint8), truth.astype(np.uint16))
        truths.append(truth[truth != 9])
        predictions.append(predicted[truth != 9])
    truth, predicted = np.concatenate(truths), np.concatenate(predictions)
    assert np.array_equal(scores.confusion, confusion_matrix(truth, predicted, labels=range(6)))
    each = jaccard_score(truth, predicted, labels=range(5), average=None)
    np.testing.assert_allclose(scores.iou()[:5], each)
    assert np.isnan(scores.iou()[5])
    figures = scores.figures()
    assert figures["miou"] == pytest.approx(100 * each.mean())
    assert figures["pixel_accuracy"] == pytest.approx(100 * (truth == predicted).mean())


@pytest.mark.parametrize(
    ("predicted", "truth", "words"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"shape \(2, 3\), the mask \(3, 2\)"),
        (np.zeros((2, 2), int), np.full((2, 2), 3), "outside 0 to 2, which are not 255 either"),
        (np.full((2, 2), 3), np.zeros((2, 2), int), "outside 0 to 2"),
    ],
)
def test_what_cannot_be_counted_is_refused(predicted, truth, words):
    with pytest.raises(ValueError, match=words):
        SegmentationScores(3).add(predicted, truth)


def test_masks_without_a_scored_pixel_give_zeros():
    scores = SegmentationScores(3)
    scores.add(np.zeros((2, 2), int), np.full((2, 2), 255))
    assert set(scores.figures().values()) == {0.0}
