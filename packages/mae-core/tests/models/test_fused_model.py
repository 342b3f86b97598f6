"""The model on fused and on plain operations: same mask, same loss, same gradients; and in static graphs."""

import numpy as np
import paddle
import pytest

from mae_core.models import MaskedAutoencoderViT
from mae_core.ops import MaskKey, fused, random_masking

pytestmark = pytest.mark.skipif(not fused.LOADED, reason=f"fused operators: {fused.why_not()}")

SIZES = {"embed_dim": 24, "depth": 2, "num_heads": 3, "decoder_embed_dim": 16, "decoder_depth": 2,
         "decoder_num_heads": 2, "patch_size": 4}  # fmt: skip


def run(model, images, noise, monkeypatch, ops):
    monkeypatch.setenv("MAE_CORE_OPS", ops)
    loss, _, mask = model(images, noise=noise, return_pred=False)
    loss.backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    model.clear_gradients()
    return float(loss), mask.numpy(), gradients


@pytest.mark.parametrize("norm_pix", [True, False])
@pytest.mark.parametrize("source", ["uint8", "float32"])
def test_fused_and_reference_agree(norm_pix, source, monkeypatch):
    paddle.seed(0)
    model = MaskedAutoencoderViT(img_size=(16, 24), in_chans=3, norm_pix_loss=norm_pix, **SIZES)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 16, 24, 3), dtype=np.uint8)
    if source == "float32":
        images = rng.standard_normal((4, 3, 16, 24)).astype("float32")
    noise = MaskKey(5, 2, paddle.to_tensor([3, 1, 4, 159]))
    results = [run(model, paddle.to_tensor(images), noise, monkeypatch, ops) for ops in ("fused", "reference")]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][2].keys() == results[1][2].keys()
    for name, gradient in results[1][2].items():
        difference = np.abs(results[0][2][name] - gradient).max()
        # The true gradient of key biases is zero: theirs is rounding, so it is compared with the whole layer's.
        assert difference <= 1e-5 * max(np.abs(gradient).max(), 1e-3), name


class MaskAndSum(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.proj = paddle.nn.Linear(6, 6)

    def forward(self, x, noise):
        visible, masking = random_masking(self.proj(x), 0.5, noise=noise)
        return visible, masking.ids_restore


# Paddle 2.6's bytecode translation loses keyword-only arguments; its syntax translation (full_graph) does not.
@pytest.mark.parametrize("full_graph", [True] if paddle.__version__.startswith("2.") else [True, False])
def test_static_graph_gives_the_same_values_and_gradients(full_graph):
    x, noise = paddle.rand([3, 10, 6]), paddle.rand([3, 10])
    layer = MaskAndSum()
    visible, ids = layer(x, noise)
    visible.square().sum().backward()
    gradient = layer.proj.weight.grad.numpy()
    layer.clear_gradients()
    static = paddle.jit.to_static(layer, full_graph=full_graph)
    static_visible, static_ids = static(x, noise)
    static_visible.square().sum().backward()
    np.testing.assert_allclose(static_visible.numpy(), visible.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(static_ids.numpy(), ids.numpy())
    np.testing.assert_allclose(layer.proj.weight.grad.numpy(), gradient, rtol=1e-5, atol=1e-6)


def test_a_saved_model_masks_alike(tmp_path):
    x, noise = paddle.rand([3, 10, 6]), paddle.rand([3, 10])
    layer = MaskAndSum()
    layer.eval()
    expected = layer(x, noise)
    spec = [paddle.static.InputSpec([None, 10, 6], "float32"), paddle.static.InputSpec([None, 10], "float32")]
    paddle.jit.save(layer, str(tmp_path / "layer"), input_spec=spec)
    loaded = paddle.jit.load(str(tmp_path / "layer"))
    for a, b in zip(loaded(x, noise), expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
