"""Losses and figures of labels and numbers against scikit-learn, PyTorch and NumPy."""

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401
from mae_data.loading.batch import Batch
from mae_data.transforms.mixup import Mixup
from mae_finetune.mixing import BatchMixer
from mae_finetune.tasks.multilabel import label_loss
from mae_finetune.tasks.regression import number_loss
from mae_finetune.tasks.regressor import Regressor
from mae_finetune.tasks.row_scores import label_table, multilabel_figures, number_table


def labelled(n=60, ties=True):
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((n, 5))
    labels = (rng.random((n, 5)) < [0.5, 0.1, 0.9, 0.3, 0.0]).astype(float)  # none has the last
    return np.round(logits) if ties else logits, labels


@pytest.mark.parametrize("ties", [False, True])
def test_figures_of_labels_are_those_of_scikit_learn(ties):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    logits, labels = labelled(ties=ties)
    some, said = logits[:, :4], logits >= 0
    figures = multilabel_figures(logits, labels)
    assert figures["map"] == pytest.approx(100 * metrics.average_precision_score(labels[:, :4], some))
    assert figures["auroc"] == pytest.approx(100 * metrics.roc_auc_score(labels[:, :4], some))
    assert figures["macro_f1"] == pytest.approx(100 * metrics.f1_score(labels, said, average="macro"))
    assert figures["micro_f1"] == pytest.approx(100 * metrics.f1_score(labels, said, average="micro"))
    assert figures["map_of_chance"] == pytest.approx(100 * labels[:, :4].mean())
    table = label_table(logits, labels)
    precision, recall, f1, images = metrics.precision_recall_fscore_support(labels, said, zero_division=np.nan)
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        np.testing.assert_allclose(table[name], 100 * values)
    np.testing.assert_array_equal(table["images"], images)
    assert np.isnan(table["auroc"][4])
    assert np.isnan(table["average_precision"][4])


def test_nothing_scored_gives_no_figure_that_is_not_finite():
    assert set(multilabel_figures(np.zeros((0, 3)), np.zeros((0, 3))).values()) == {0.0}
    assert all(np.isfinite(list(multilabel_figures(np.ones((4, 2)), np.zeros((4, 2))).values())))


class Fixed(paddle.nn.Layer):
    """Gives the same outputs whatever it is asked."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = paddle.to_tensor(outputs.astype("float32"))

    def forward(self, images):
        return self.outputs


def label_mixer(smoothing, **mixup):
    return BatchMixer(Mixup(**mixup), 5, smoothing, (0.5,) * 3, (0.2,) * 3, 0)


def batch(targets):
    images = np.random.default_rng(1).integers(0, 256, (len(targets), 8, 8, 3), dtype=np.uint8)
    return Batch(*map(paddle.to_tensor, (images, targets.astype("float32"), np.arange(len(targets)))))


def test_the_loss_of_labels_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    logits, labels = labelled(6, ties=False)
    loss, _ = label_loss(label_mixer(0.2, prob=0.0), Fixed(logits), batch(labels), 0)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor(0.8 * labels + 0.1)
    )
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert multilabel_figures(logits, labels)["val_loss"] == pytest.approx(
        float(torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(labels)))
    )


def test_labels_are_mixed_as_their_images_are():
    _, labels = labelled(6)
    given = batch(labels)
    images, targets = label_mixer(0.0, cutmix_alpha=0.0)(given.images, given.labels, given.indices, 3)
    x = (given.images.numpy() / 255 - 0.5) / 0.2
    weight = (images.numpy()[0, 0, 0, 0] - x[5, 0, 0, 0]) / (x[0, 0, 0, 0] - x[5, 0, 0, 0])
    assert 0.02 < weight < 0.98
    np.testing.assert_allclose(targets.numpy(), weight * labels + (1 - weight) * labels[::-1], atol=1e-4)


def test_figures_of_numbers_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(2)
    true, train_mean = rng.normal([5, -300], [1, 40], (50, 2)), np.array([4.0, -310.0])
    said = true + rng.normal(0, [0.5, 60], true.shape)
    table = number_table(said, true, train_mean, np.array([1.0, 40.0]))
    each = {"multioutput": "raw_values"}
    np.testing.assert_allclose(table["mae"], metrics.mean_absolute_error(true, said, **each))
    np.testing.assert_allclose(table["rmse"], metrics.root_mean_squared_error(true, said, **each))
    np.testing.assert_allclose(table["r2"], metrics.r2_score(true, said, **each))
    np.testing.assert_allclose(
        table["mae_of_mean"], metrics.mean_absolute_error(true, np.tile(train_mean, (50, 1)), **each)
    )
    constant = np.full((3, 2), 7.0)
    off = constant + [0.0, 1.0]
    np.testing.assert_array_equal(
        number_table(off, constant, train_mean, np.ones(2))["r2"], metrics.r2_score(constant, off, **each)
    )


def regressor():
    paddle.seed(0)
    sizes = {"embed_dim": 8, "depth": 1, "num_heads": 2, "patch_size": 4, "img_size": 8}
    return Regressor(numbers=2, **sizes)


def test_the_loss_of_numbers_is_that_of_pytorch_on_standardised_ones():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(3)
    train, targets = rng.normal([1000, 0.5], [20, 0.01], (40, 2)), rng.normal([1010, 0.48], [60, 0.01], (6, 2))
    model, given = regressor(), batch(targets)
    model.standardise_by(train.astype("float32"))
    loss, _ = number_loss(model, given, 0)
    said = model(given.images).numpy()
    scaled = [torch.tensor((x - train.mean(axis=0)) / train.std(axis=0)) for x in (said, targets)]
    assert float(loss) == pytest.approx(float(torch.nn.functional.smooth_l1_loss(*scaled)), rel=1e-3)
    np.testing.assert_allclose(said, np.tile(train.mean(axis=0), (6, 1)), rtol=1e-4)  # a new head says the mean


def test_a_known_scale_stays_when_weights_are_loaded():
    model, other = regressor(), regressor()
    other.standardise_by(np.array([[1.0, 2.0], [3.0, 8.0]], np.float32))
    model.set_state_dict(other.state_dict())
    assert model.head.mean.tolist() == [2.0, 5.0]
    assert model.head.std.tolist() == [1.0, 3.0]
    again = regressor()
    again.standardise_by(np.array([[0.0, 0.0], [2.0, 4.0]], np.float32))
    again.set_state_dict(model.state_dict())
    assert again.head.mean.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(again.head.weight.numpy(), model.head.weight.numpy())
