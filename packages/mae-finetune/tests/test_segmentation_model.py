"""The segmentation model: its heads, its loss, and resizing and pooling by products."""

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from mae_finetune.segmentation.heads import UPerNet
from mae_finetune.segmentation.model import SegmentationTransformer, segmentation_loss, spread_blocks, training_loss
from mae_finetune.segmentation.resampling import pool, resize

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}


ROOMS = {
    "pooling.parts": "psp_modules", "pooling.fusion": "bottleneck", "fusion": "fpn_bottleneck",
    "lateral": "lateral_convs", "smooth": "fpn_convs",
}  # fmt: skip


def rename(name):
    """Turn a parameter's name into that of transformers."""
    room = next((room for room in ROOMS if name.startswith(room + ".")), None)
    parts = (ROOMS[room] + name.removeprefix(room) if room else name).split(".")
    if parts[0] == "psp_modules":
        parts.insert(2, "1")
    if parts[0] != "classifier":
        parts[-2] = {"0": "conv", "1": "batch_norm"}[parts[-2]]
    parts[-1] = {"_mean": "running_mean", "_variance": "running_var"}.get(parts[-1], parts[-1])
    return ".".join(parts)


def test_upernet_is_that_of_transformers():
    torch = pytest.importorskip("torch")
    upernet = pytest.importorskip("transformers.models.upernet.modeling_upernet")
    paddle.seed(0)
    rng, ours = np.random.default_rng(0), UPerNet(12, 5, channels=8)
    for value in ours.state_dict().values():  # norms away from their trivial values; variances stay positive
        value.set_value((np.abs(rng.standard_normal(value.shape)) * 0.3 + 0.1).astype("float32"))
    config = upernet.UperNetConfig(hidden_size=8, num_labels=5)
    theirs = upernet.UperNetHead(config, [12] * 4).eval()
    arrays = {rename(name): torch.from_numpy(value.numpy()) for name, value in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(arrays, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    ours.eval()
    planes = [rng.standard_normal((2, 12, side, side + 3)).astype("float32") for side in (16, 8, 4, 2)]
    with torch.no_grad():
        expected = theirs([torch.from_numpy(plane) for plane in planes]).numpy()
    found = ours([paddle.to_tensor(plane) for plane in planes]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_loss_counts_pixels_that_are_not_ignored():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 3, 4, 5)).astype("float32")
    masks = rng.choice([0, 1, 2, 255], (2, 4, 5)).astype("uint8")
    log = logits.astype("float64") - np.log(np.exp(logits.astype("float64")).sum(axis=1, keepdims=True))
    each = [-log[n, masks[n, i, j], i, j] for n, i, j in np.ndindex(masks.shape) if masks[n, i, j] != 255]
    found = float(segmentation_loss(paddle.to_tensor(logits), paddle.to_tensor(masks), 255))
    assert found == pytest.approx(np.mean(each), rel=1e-5)
    nothing = paddle.full([2, 4, 5], 255, dtype="uint8")
    assert float(segmentation_loss(paddle.to_tensor(logits), nothing, 255)) == 0.0


@pytest.mark.parametrize(
    ("depth", "expected"), [(12, [3, 5, 7, 11]), (24, [5, 11, 17, 23]), (4, [0, 1, 2, 3]), (1, [0] * 4)]
)
def test_blocks_are_spread_to_the_last(depth, expected):
    assert spread_blocks(depth) == expected


@pytest.mark.parametrize("head", ["upernet", "light"])
def test_a_small_model_learns_where_bright_pixels_are(head):
    paddle.seed(0)
    rng = np.random.default_rng(0)
    model = SegmentationTransformer(num_classes=2, head=head, head_channels=16, **TINY)
    masks = np.kron(rng.integers(0, 2, (8, 4, 4)), np.ones((8, 8), int)).astype("uint8")
    images = np.repeat((masks * 150 + 50)[..., None], 3, axis=3).astype("uint8")
    images, masks = paddle.to_tensor(images), paddle.to_tensor(masks)
    optimizer = paddle.optimizer.AdamW(3e-3, parameters=model.parameters())
    model.train()
    for _ in range(30):
        loss = training_loss(model(images), masks, 255)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()
    logits = model(images)
    assert logits.shape == [8, 2, 32, 32]
    assert (logits.argmax(axis=1).numpy() == masks.numpy()).mean() > 0.9


def test_another_head_is_refused():
    with pytest.raises(ValueError, match="head='unet'; use one of upernet, light"):
        SegmentationTransformer(num_classes=2, head="unet", **TINY)


@pytest.mark.parametrize("size", [(5, 7), (10, 14), (11, 4), (1, 1), (40, 9)])
def test_resizing_is_bilinear(size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype("float32")
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), size=size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resize(paddle.to_tensor(x), size).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3, 6, 9])
def test_pooling_is_adaptive(side):
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 5, 8)).astype("float32"))
    np.testing.assert_allclose(pool(x, side).numpy(), F.adaptive_avg_pool2d(x, side).numpy(), rtol=1e-5, atol=1e-6)


def test_the_type_stays():
    x = paddle.ones([1, 2, 4, 4], dtype="float64")
    assert resize(x, (8, 8)).dtype == pool(x, 3).dtype == paddle.float64
