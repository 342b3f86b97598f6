"""The probe: what is trained, what is frozen, and the batch norm against NumPy float64."""

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.errors import ConfigError
from mae_data.loading.batch import Batch
from mae_probe.build import build_model
from mae_probe.config import RECIPE
from mae_probe.heads import FeatureNorm
from mae_probe.model import LinearProbe
from mae_probe.train import probe_loss

assert mae_core

SIZES = {"base": (16, 768, 12, 12), "large": (16, 1024, 24, 16), "huge": (14, 1280, 32, 16)}


@pytest.mark.parametrize("size", SIZES)
def test_recipes_are_the_published_ones(size):
    config = RECIPE.load(f"vit_{size}_patch{SIZES[size][0]}_224_linearprobe")
    m, t = config.MODEL, config.TRAIN
    assert SIZES[size] == (m.PATCH_SIZE, m.ENCODER.EMBED_DIM, m.ENCODER.DEPTH, m.ENCODER.NUM_HEADS)
    assert (m.GLOBAL_POOL, m.NUM_CLASSES, config.DATA.IMAGE_SIZE) == (False, 1000, 224)
    assert (t.NUM_EPOCHS, t.WARMUP_EPOCHS, t.BASE_LR, t.LINEAR_SCALED_LR, t.END_LR) == (90, 10, 0.1, 256, 0)
    assert (t.WEIGHT_DECAY, t.OPTIMIZER.NAME, t.OPTIMIZER.MOMENTUM, t.OPTIMIZER.TRUST) == (0, "LARS", 0.9, 1e-3)
    assert list(config.DATA.CROP_SCALE) == [0.08, 1.0]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["MODEL.TYPE", "FINETUNE"], "LINEARPROBE"),
        (["TRAIN.OPTIMIZER.NAME", "AdamW"], "LARS"),
        (["TRAIN.WARMUP_EPOCHS", "91"], "TRAIN.NUM_EPOCHS=90"),
        (["DATA.CROP_PCT", "1.5"], "a share above 0 and up to 1"),
        (["TRAIN.OPTIMIZER.MOMENTUM", "1"], "outside"),
        (["DATA.BATCH_SIZE_EVAL", "2.5"], "a number of images"),
    ],
)
def test_contradictions_are_refused(pairs, words):
    with pytest.raises(ConfigError, match=words):
        RECIPE.load(None, {}, pairs)


def tiny(**kwargs):
    return LinearProbe(img_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3, **kwargs)


def test_769000_parameters_of_base_are_trained():
    pairs = ["MODEL.ENCODER.DEPTH", "1", "MODEL.PRETRAINED", "None"]  # the blocks are frozen, however many
    model = build_model(RECIPE.load("vit_base_patch16_224_linearprobe", {}, pairs))
    assert sum(int(p.size) for p in model.parameters() if not p.stop_gradient) == 769_000
    weight = model.head[1].weight.numpy()
    assert weight.std() == pytest.approx(0.01, rel=0.01)
    assert (model.head[1].bias.numpy() == 0).all()


def test_the_encoder_has_no_gradient_and_no_training_mode():
    model = tiny(drop_path_rate=0.9)
    model.train()
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8))
    assert model.training
    assert model.head.training
    assert not any(block.training for block in model.blocks)
    assert (model.forward_features(images).numpy() == model.forward_features(images).numpy()).all()
    model(images).sum().backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {"head.1.weight", "head.1.bias"}


def test_features_are_the_class_token_after_the_norm_or_the_mean_of_patches():
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8))
    for pool in (False, True):
        model = tiny(global_pool=pool)
        tokens = model.encode(model.normalize(model.patchify(images))).numpy().astype(np.float64)
        x = tokens[:, 1:].mean(axis=1) if pool else tokens[:, 0]
        expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        np.testing.assert_allclose(model.forward_features(images).numpy(), expected, atol=2e-5)


def test_batch_norm_normalises_by_the_batch_and_remembers_the_unbiased_variance():
    rng, norm = np.random.default_rng(0), FeatureNorm(5)
    mean, variance = np.zeros(5), np.ones(5)
    for _ in range(3):
        x = rng.normal(2.0, 3.0, (6, 5)).astype(np.float32)
        exact = x.astype(np.float64)
        out = norm(paddle.to_tensor(x)).numpy()
        np.testing.assert_allclose(out, (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-6), atol=2e-6)
        mean, variance = 0.9 * mean + 0.1 * exact.mean(0), 0.9 * variance + 0.1 * exact.var(0, ddof=1)
    norm.eval()
    out = norm(paddle.to_tensor(x)).numpy()
    np.testing.assert_allclose(out, (exact - mean) / np.sqrt(variance + 1e-6), rtol=1e-5, atol=1e-5)


def test_a_weighted_loss_is_that_of_pytorch_with_probabilities():
    """Its mean is over images; with class numbers PyTorch divides by the sum of the weights instead."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(4)
    logits, labels = (4 * rng.standard_normal((9, 5))).astype("float32"), rng.integers(0, 5, 9)
    weights = rng.uniform(0.1, 4, 5).astype("float32")
    batch = Batch(*map(paddle.to_tensor, (logits, labels, np.arange(9))))
    found = probe_loss(paddle.to_tensor(weights), paddle.nn.Identity(), batch, 0)[0]
    one_hot = torch.nn.functional.one_hot(torch.tensor(labels), 5).float()
    expected = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights))(torch.tensor(logits), one_hot)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
