"""The loss of a batch against NumPy: soft targets, smoothing inside the mixture, each switch counts."""

from dataclasses import replace

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401
from mae_core.stage.classifier import class_weights_of
from mae_data.loading.batch import Batch
from mae_data.transforms.mixup import Mixup
from mae_finetune.build import build_model, train_dataset
from mae_finetune.config import RECIPE
from mae_finetune.mixing import BatchMixer, mixer_of, soft_target_cross_entropy
from mae_finetune.tasks.classification import finetune_loss

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def batch(n=6, height=12, width=20):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return [paddle.to_tensor(x) for x in (images, rng.integers(0, 4, n), np.arange(7, 7 + n))]


def mixer(smoothing=0.1, seed=0, **mixup):
    return BatchMixer(Mixup(**mixup), 4, smoothing, MEAN, STD, seed)


def test_cross_entropy_of_soft_targets_in_numpy():
    rng = np.random.default_rng(1)
    logits, targets = 5 * rng.standard_normal((7, 9)), rng.dirichlet(np.ones(9), 7)
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    value = soft_target_cross_entropy(*[paddle.to_tensor(x.astype("float32")) for x in (logits, targets)])
    assert float(value) == pytest.approx(-(targets * log_softmax).sum(1).mean(), rel=1e-6)


WEIGHTS = np.array([0.4, 3.0, 1.5, 0.2], "float32")


def test_the_weighted_loss_of_mixed_images_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    images, labels, indices = batch()
    logits = (5 * np.random.default_rng(2).standard_normal((6, 4))).astype("float32")
    plain = mixer(smoothing=0.0)(images, labels, indices, 3)[1].numpy()
    assert ((plain > 0) & (plain < 1)).any()
    weighted = replace(mixer(smoothing=0.0), class_weights=paddle.to_tensor(WEIGHTS))(images, labels, indices, 3)[1]
    value = soft_target_cross_entropy(paddle.to_tensor(logits), weighted)
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS))
    assert float(value) == pytest.approx(float(loss(torch.tensor(logits), torch.tensor(plain))), rel=1e-6)


def test_smoothing_spreads_the_weight_of_an_image_evenly():
    """Of an image of a frequent class, rare ones get no more than others."""
    images, labels, indices = batch()
    unmixed = BatchMixer(Mixup(prob=0.0), 4, 0.2, MEAN, STD, 0, class_weights=paddle.to_tensor(WEIGHTS))
    own = WEIGHTS[labels.numpy()][:, None]
    targets = unmixed(images, labels, indices, 0)[1].numpy()
    np.testing.assert_allclose(targets, own * (np.eye(4)[labels.numpy()] * 0.8 + 0.05), rtol=1e-6)


def test_balanced_weights_are_those_of_scikit_learn():
    class_weight = pytest.importorskip("sklearn.utils.class_weight", reason="scikit-learn is not installed")
    labels = np.repeat([0, 1, 3], [95, 4, 1])  # none of class 2
    config = RECIPE.load(pairs=["MODEL.NUM_CLASSES", "4", "TRAIN.CLASS_WEIGHTS", "balanced"])
    weights = class_weights_of(config, labels).numpy()
    expected = class_weight.compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    np.testing.assert_allclose(weights, np.insert(expected, 2, 0), rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)
    assert class_weights_of(RECIPE.load(pairs=["MODEL.NUM_CLASSES", "4"]), labels) is None


def test_mixed_images_and_targets_share_one_weight():
    """Mixup: x = w x + (1 - w) x', t = w t + (1 - w) t', with the smoothing inside t."""
    images, labels, indices = batch()
    mixed, targets = mixer(cutmix_alpha=0.0)(images, labels, indices, 3)
    x = (images.numpy() / 255.0 - MEAN) / STD
    t = np.full((6, 4), 0.1 / 4)
    t[np.arange(6), labels.numpy()] += 0.9
    pixel, mirrored = x[0, 0, 0, 0], x[5, 0, 0, 0]
    weight = (mixed.numpy()[0, 0, 0, 0] - mirrored) / (pixel - mirrored)
    assert 0.02 < weight < 0.98
    np.testing.assert_allclose(mixed.numpy(), (weight * x + (1 - weight) * x[::-1]).transpose(0, 3, 1, 2), atol=1e-4)
    np.testing.assert_allclose(targets.numpy(), weight * t + (1 - weight) * t[::-1], atol=1e-5)


@pytest.mark.parametrize("height_width", [(12, 20), (20, 12)])
def test_cutmix_targets_count_the_pixels_of_a_non_square_image(height_width):
    images, labels, indices = batch(2, *height_width)
    labels = paddle.to_tensor([0, 1])
    cut = 0
    for epoch in range(20):
        mixed, targets = mixer(0.0, mixup_alpha=0.0)(images, labels, indices, epoch)
        x = ((images.numpy() / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2)
        own = np.isclose(mixed.numpy()[0], x[0], atol=1e-5).all(0)
        other = np.isclose(mixed.numpy()[0], x[1], atol=1e-5).all(0)
        assert (own ^ other).all()
        np.testing.assert_allclose(targets.numpy()[0, :2], [own.mean(), other.mean()], atol=1e-6)
        cut += other.any() and own.any()
    assert cut > 10


def test_the_draw_depends_on_seed_epoch_and_first_sample_only():
    images, labels, indices = batch()

    def mixed(epoch=0, seed=0, shift=0):
        return mixer(seed=seed)(images, labels, indices + shift, epoch)[0].numpy()

    first = mixed()
    mixed(epoch=5)  # what was drawn before changes nothing
    np.testing.assert_array_equal(first, mixed())
    assert all(not np.array_equal(first, mixed(**{name: 1})) for name in ("epoch", "seed", "shift"))


SWITCHES = {
    "TRAIN.SMOOTHING": "0.0",
    "TRAIN.MIXUP_PROB": "0.0",
    "TRAIN.MIXUP_ALPHA": "0.0",
    "TRAIN.CUTMIX_ALPHA": "0.0",
    "TRAIN.MIXUP_SWITCH_PROB": "1.0",
    "TRAIN.MIXUP_MODE": "elem",
    "SEED": "1",
}


@pytest.mark.parametrize("key", SWITCHES)
def test_every_switch_changes_the_loss(key):
    small = "DATA.IMAGE_SIZE [12,20] MODEL.PATCH_SIZE 4 MODEL.NUM_CLASSES 4 MODEL.DROPPATH 0"
    small += " MODEL.ENCODER.EMBED_DIM 8 MODEL.ENCODER.DEPTH 1 MODEL.ENCODER.NUM_HEADS 2"
    config = RECIPE.load(pairs=small.split())
    model = build_model(config)
    model.head.weight.set_value(paddle.randn([8, 4]))

    def losses(config):
        return [float(finetune_loss(mixer_of(config), model, Batch(*batch()), epoch)[0]) for epoch in range(8)]

    assert losses(config) != losses(RECIPE.load(pairs=[*small.split(), key, SWITCHES[key]]))


@pytest.mark.parametrize(
    "pairs", ["TRAIN.RAND_AUGMENT False", "TRAIN.RAND_AUGMENT_LAYERS 8", "TRAIN.RAND_AUGMENT_MAGNITUDE 1",
              "TRAIN.RANDOM_ERASE_PROB 1.0", "DATA.HFLIP 0.0", "DATA.CROP_SCALE [0.9,1.0]", "SEED 3"],
)  # fmt: skip
def test_every_augmentation_switch_changes_the_images(data, pairs):
    common = ["DATA.DATA_PATH", str(data), "DATA.IMAGE_SIZE", "16"]
    plain, changed = (train_dataset(RECIPE.load(pairs=[*common, *extra])) for extra in ([], pairs.split()))
    assert any(not np.array_equal(plain[(0, i)][0], changed[(0, i)][0]) for i in range(26))
    np.testing.assert_array_equal(plain[(1, 3)][0], train_dataset(RECIPE.load(pairs=common))[(1, 3)][0])


@pytest.mark.parametrize("std", ["1e-5", "0.5", "3"])
def test_any_deviation_of_the_magnitude_reaches_randaugment(data, std):
    config = RECIPE.load(pairs=["DATA.DATA_PATH", str(data), "TRAIN.RAND_AUGMENT_STD", std])
    assert train_dataset(config).transform.rand_augment.magnitude_std == float(std)


def test_labels_are_smoothed_where_nothing_is_mixed():
    images, labels, indices = batch()
    mixer = BatchMixer(Mixup(prob=0.0), 4, 0.2, MEAN, STD, 0)
    _, targets = mixer(images, labels, indices, 0)
    np.testing.assert_allclose(targets.numpy(), np.eye(4)[labels.numpy()] * 0.8 + 0.05, rtol=1e-6)
