"""What is said of each image: the likeliest class and its probability, as a table."""

import csv

import numpy as np

from mae_core.evaluation.class_figures import SCORED_CLASSES
from mae_core.evaluation.scores import Predictions
from mae_core.evaluation.tables import write_predictions


def test_each_image_that_was_scored_has_a_line(tmp_path):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 4)) * 3
    logits[:, 2] = -np.inf  # takes no part
    indices, labels = np.array([6, 0, 3, 1, 4]), np.array([0, 1, 3, 1, 0])
    predictions = Predictions(7, 4)
    for part in (slice(0, 3), slice(3, 5)):
        predictions.add(indices[part], logits[part].astype(np.float32), labels[part])
    predictions.sum_over_ranks()
    write_predictions(tmp_path, predictions, lambda i: f"a,b/{i}\udcff.jpg")
    head, *rows = csv.reader((tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines())
    assert head == ["index", "image", "class", "predicted", "probability", *(f"prob_{c}" for c in range(4))]
    assert [int(row[0]) for row in rows] == sorted(indices.tolist())
    shares = np.exp(logits.astype(np.float32).astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    for row in rows:
        (place,) = np.flatnonzero(indices == int(row[0]))
        assert row[1] == f"a,b/{row[0]}\\udcff.jpg"
        assert (int(row[2]), int(row[3])) == (labels[place], shares[place].argmax())
        assert abs(float(row[4]) - shares[place].max()) < 1e-6
        np.testing.assert_allclose([float(cell) for cell in row[5:]], shares[place], rtol=2e-5)


def test_of_very_many_classes_the_likeliest_alone_is_kept(tmp_path):
    predictions = Predictions(3, SCORED_CLASSES + 1)
    predictions.add(np.arange(3), np.eye(3, SCORED_CLASSES + 1), np.arange(3))
    assert predictions.figures() == {}
    write_predictions(tmp_path, predictions, str)
    assert {len(line.split(",")) for line in (tmp_path / "predictions.csv").read_text().splitlines()} == {5}
