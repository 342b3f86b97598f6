"""What an evaluation counts, against straightforward counting, and its tables."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from mae_core.errors import NonFiniteError, UserError
from mae_core.evaluation import classifier
from mae_core.evaluation.class_figures import SCORED_CLASSES
from mae_core.evaluation.classifier import prepare_report, report_scores, score_batches
from mae_core.evaluation.scores import Predictions, Scores
from mae_core.evaluation.tables import write_predictions, write_tables
from mae_core.training.precision import Precision


def sample(n=203, k=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, k)).astype("float32"), rng.integers(0, k, n)


def test_figures_equal_plain_counting_for_any_batches():
    logits, labels = sample()
    order = np.argsort(-logits, axis=1)
    top1 = 100 * np.mean(order[:, 0] == labels)
    top5 = 100 * np.mean([label in row[:5] for label, row in zip(labels, order, strict=True)])
    softmax = np.exp(logits.astype("float64")) / np.exp(logits.astype("float64")).sum(1, keepdims=True)
    loss = -np.mean(np.log(softmax[np.arange(len(labels)), labels]))
    for size in (1, 7, 203):
        scores = Scores(9)
        for i in range(0, len(labels), size):
            scores.add(logits[i : i + size], labels[i : i + size])
        assert scores.images == 203
        figures = scores.figures()
        assert list(figures) == ["top1", "top5", "val_loss", "balanced_accuracy", "macro_f1"]
        assert (figures["top1"], figures["top5"], figures["val_loss"]) == pytest.approx((top1, top5, loss), rel=1e-12)
    expected = np.zeros((9, 9))
    for label, predicted in zip(labels, order[:, 0], strict=True):
        expected[label, predicted] += 1
    np.testing.assert_array_equal(scores.confusion, expected)


def test_ties_are_broken_by_class_and_few_classes_have_a_top5():
    scores = Scores(8)
    scores.add(np.zeros((8, 8)), np.arange(8))  # a model that says nothing is right for one class, and for five
    assert scores.figures()["top1"] == pytest.approx(100 / 8)
    assert scores.figures()["top5"] == pytest.approx(500 / 8)
    two = Scores(2)
    two.add(np.array([[0.0, 1.0]]), np.array([0]))
    assert (two.figures()["top1"], two.figures()["top5"]) == (0.0, 100.0)


def test_outputs_that_take_no_part_win_nothing():
    scores = Scores(3)
    scores.add(np.array([[5.0, 1.0, -np.inf], [5.0, 6.0, -np.inf]]), np.array([0, 0]))
    assert scores.figures()["top1"] == 50.0
    loss = np.mean([np.log1p(np.exp(-4.0)), np.log1p(np.exp(1.0))])
    assert scores.figures()["val_loss"] == pytest.approx(loss)


def test_tables_say_what_was_counted(tmp_path):
    logits, labels = sample(40, 3)
    scores = Scores(4)  # nothing is of the last class
    scores.add(np.pad(logits, ((0, 0), (0, 1)), constant_values=-9), labels)
    write_tables(tmp_path / "new" / "eval", scores, scores.figures(), {c: f"dir{c}" for c in range(3)})
    rows = list(csv.DictReader((tmp_path / "new/eval/per_class.csv").open()))
    assert [r["folder"] for r in rows] == ["dir0", "dir1", "dir2", ""]
    assert [int(r["images"]) for r in rows] == np.bincount(labels, minlength=4).tolist()
    hit = logits.argmax(1) == labels
    assert float(rows[1]["top1"]) == pytest.approx(100 * hit[labels == 1].mean(), abs=1e-4)
    assert rows[3]["top1"] == ""
    confusion = np.array([[int(x) for x in row] for row in csv.reader((tmp_path / "new/eval/confusion.csv").open())])
    np.testing.assert_array_equal(confusion, scores.confusion)
    assert json.loads((tmp_path / "new/eval/scores.json").read_text()) == scores.figures()


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/eval cannot be written"):
        prepare_report(str(tmp_path / "file"))
    prepare_report(str(tmp_path / "new"))
    assert not list((tmp_path / "new/eval").iterdir())
    scores = Scores(3)
    scores.add(*sample(9, 3))
    with caplog.at_level("INFO", "mae"), pytest.raises(UserError, match="cannot be written"):
        report_scores(scores, 1.0, str(tmp_path / "file"), {})
    assert "9 images: top-1" in caplog.text  # the figures are said all the same


def test_one_rank_writes_the_tables_and_all_return_the_figures(tmp_path, monkeypatch):
    scores = Scores(3)
    scores.add(*sample(9, 3))
    figures = []
    for is_main in (False, True):
        monkeypatch.setattr(classifier.distributed, "is_main", lambda is_main=is_main: is_main)
        prepare_report(str(tmp_path))
        figures.append(report_scores(scores, 3.0, str(tmp_path), {}))
        assert (tmp_path / "eval" / "scores.json").exists() == is_main
    assert figures[0] == figures[1]
    assert (figures[0]["images"], figures[0]["images_per_s"]) == (9, 3.0)


def batches(logits, labels, size):
    """Cut logits into batches of (inputs, labels, indices) that a model passes through."""
    for i in range(0, len(labels), size):
        rows = np.arange(i, min(i + size, len(labels)))
        images, own, indices = map(paddle.to_tensor, (logits[rows], labels[rows], rows))
        yield SimpleNamespace(images=images, labels=own, indices=indices)


class IndexCounts(Scores):
    """Scores that also know which samples were counted."""

    def __init__(self):
        super().__init__(3)
        self.seen = np.zeros(11)

    def add(self, logits, labels, indices=None):
        super().add(logits, labels, indices)
        self.seen[indices] += 1

    def counts(self):
        return *super().counts(), self.seen


def test_scoring_counts_every_batch_and_tells_a_subclass_which_samples_it_holds():
    logits, labels = sample(11, 3)
    own = score_batches(paddle.nn.Identity(), batches(logits, labels, 4), IndexCounts(), Precision(False))
    assert own.images == 11
    assert own.figures()["top1"] == pytest.approx(100 * np.mean(logits.argmax(1) == labels))
    assert own.seen.tolist() == [1] * 11


def test_scoring_stops_when_asked_to():
    asked = []

    def after_two_batches():
        asked.append(True)
        return len(asked) > 2

    given = batches(*sample(9, 3), 2)
    assert (
        score_batches(paddle.nn.Identity(), given, Scores(3), Precision(False), should_stop=after_two_batches) is None
    )
    assert len(asked) == 3


def test_an_output_that_is_not_finite_is_no_score():
    logits, labels = sample(9, 3)
    logits[5, 1] = np.nan
    with pytest.raises(NonFiniteError, match="the model's output for image 5 is not finite"):
        score_batches(
            paddle.nn.Identity(), batches(logits, labels, 4), Scores(3), Precision(False), name="image {}".format
        )


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
