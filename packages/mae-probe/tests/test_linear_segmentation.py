"""The linear head of segmentation against PyTorch: upsampling, loss, and a training step by step."""

import numpy as np
import paddle
import pytest

from mae_core.errors import NonFiniteError
from mae_core.training.optim import warmup_cosine
from mae_probe.segmentation import heads
from mae_probe.segmentation.heads import LinearHead, PatchClassifier, pixel_loss
from mae_probe.segmentation.score import bilinear, pixel_classes

torch = pytest.importorskip("torch")
GRID, CLASSES, DIM = (3, 4), 5, 6


def upsampled(planes, size):
    return torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(3, 4), (48, 64), (131, 70), (2, 3)])
def test_pixels_get_the_class_of_the_largest_upsampled_score(size):
    scores = np.random.default_rng(0).standard_normal((12, CLASSES)).astype(np.float32)
    planes = torch.tensor(scores.T.reshape(1, CLASSES, *GRID), dtype=torch.float64)
    full = upsampled(planes, size)[0].numpy()
    ours = np.einsum("hr,krc,wc->khw", bilinear(GRID[0], size[0]), planes[0].numpy(), bilinear(GRID[1], size[1]))
    np.testing.assert_allclose(ours, full, atol=1e-5)
    found = pixel_classes(scores, GRID, size)
    np.testing.assert_array_equal(found, full.argmax(axis=0))
    assert (found.shape, found.dtype) == (size, np.uint8)


def test_many_classes_have_room():
    scores = np.zeros((12, 300), np.float32)
    scores[:, 299] = 1
    assert pixel_classes(scores, GRID, (6, 8)).tolist() == [[299] * 8] * 6


def samples(seed, count=21):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 12, DIM)).astype(np.float32), rng.choice([0, 1, 2, 3, 4, 255], (count, 9, 16))


def test_the_loss_is_the_mean_over_pixels_that_count():
    patches, masks = samples(0, 3)
    logits = patches[:, :, :CLASSES].transpose(0, 2, 1).reshape(3, CLASSES, *GRID)
    full = upsampled(torch.tensor(logits, dtype=torch.float64), (9, 16))
    expected = torch.nn.functional.cross_entropy(full, torch.tensor(masks), ignore_index=255)
    found = pixel_loss(paddle.to_tensor(logits), paddle.to_tensor(masks.astype(np.int64)), 255)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_training_is_that_of_pytorch(monkeypatch):
    """Without dropout, whose random numbers differ; weights begin alike, batches come in the same order."""
    monkeypatch.setattr(heads, "DROPOUT", 0.0)
    patches, masks = samples(1)
    head = LinearHead(CLASSES, 255, GRID, len(patches), epochs=4, lr=0.01, seed=7)
    head.fit(lambda: [(patches[:9], masks[:9]), (patches[9:], masks[9:])])
    paddle.seed(7)
    initial = PatchClassifier(DIM, CLASSES)
    norm, conv = torch.nn.BatchNorm2d(DIM), torch.nn.Conv2d(DIM, CLASSES, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(initial.conv.weight.numpy()))
        conv.bias.zero_()
    model = torch.nn.Sequential(norm, conv)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=1e-3)
    rng = np.random.Generator(np.random.PCG64(7))
    rng.random(len(patches))  # the draw of images
    planes = torch.tensor(patches.astype(np.float16).astype(np.float32).transpose(0, 2, 1).reshape(-1, DIM, *GRID))
    for epoch in range(4):
        order = np.argsort(rng.random(len(patches)), kind="stable")
        for number, rows in enumerate((order[:16], order[16:])):
            lr = warmup_cosine(2 * epoch + number, lr=0.01, min_lr=0.0, warmup_epochs=8 * 1500 / 40000, epochs=8)
            optimizer.param_groups[0]["lr"] = lr
            full = upsampled(model(planes[rows]), (9, 16))
            loss = torch.nn.functional.cross_entropy(full, torch.tensor(masks[rows]), ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        expected = model(planes).flatten(2).transpose(1, 2).numpy()
    moved = np.abs(expected - initial.conv(paddle.to_tensor(planes.numpy())).flatten(2).transpose([0, 2, 1]).numpy())
    assert moved.mean() > 0.02
    # The running variance of PyTorch is the unbiased one: 1 / (16 * 12) more.
    np.testing.assert_allclose(head.predict(patches), expected, atol=4e-3)


def test_weights_begin_as_stated():
    paddle.seed(0)
    head = PatchClassifier(4000, 30)
    assert head.conv.weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert not head.conv.bias.numpy().any()
    dropped = head.dropout(paddle.ones([50, 40, 2, 2])).numpy()
    whole = dropped.reshape(50 * 40, 4)
    assert (whole.min(axis=1) == whole.max(axis=1)).all()  # channels, not single values
    assert (whole[:, 0] == 0).mean() == pytest.approx(0.1, abs=0.03)


def test_more_images_than_fit_are_drawn(monkeypatch):
    monkeypatch.setattr(heads, "MOST", 5 * 12 * DIM * 2)
    patches, masks = samples(2)
    head = LinearHead(CLASSES, 255, GRID, len(patches), epochs=1, seed=3)
    kept, of_masks = head._keep(lambda: [(patches[:8], masks[:8]), (patches[8:], masks[8:])], np.random.default_rng(0))
    assert (kept.shape, kept.dtype) == ((5, 12, DIM), np.float16)
    places = [int(np.flatnonzero((masks == mask).all(axis=(1, 2)))[0]) for mask in of_masks]
    assert len(set(places)) == 5
    np.testing.assert_allclose(kept, patches[places], atol=2e-3)


def test_a_loss_that_is_not_finite_ends_it():
    patches, masks = samples(4, 4)
    patches[0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="the loss of the linear head is nan at step 0; lower --lr"):
        LinearHead(CLASSES, 255, GRID, 4, epochs=1).fit(lambda: [(patches, masks)])
