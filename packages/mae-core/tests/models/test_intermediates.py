"""Tokens behind any block: those of timm with the same weights, and of the last block what `encode` gives."""

import json

import numpy as np
import paddle
import pytest

from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.metadata import metadata_of
from mae_core.weights.translate import from_ours

SIZES = {"img_size": (8, 12), "patch_size": 4, "embed_dim": 24, "depth": 4, "num_heads": 3}


def make_vit():
    paddle.seed(0)
    model = VisionTransformer(num_classes=5, global_pool=False, **SIZES)
    rng = np.random.default_rng(0)
    for parameter in model.parameters():  # norms and biases away from their trivial values
        parameter.set_value(parameter.numpy() + 0.1 * rng.standard_normal(parameter.shape).astype("float32"))
    model.eval()
    return model, rng.standard_normal((2, 3, 8, 12)).astype("float32")


@pytest.mark.parametrize("norm", [True, False])
def test_tokens_are_timms(norm):
    """With timm 1.0.31: within 2e-5. It needs a torchvision of torch's build, so most machines skip this."""
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    model, images = make_vit()
    theirs = timm.models.VisionTransformer(num_classes=5, **SIZES).eval()
    arrays, _ = from_ours(model_arrays(model), LAYOUTS["timm"], model.patch_size)
    theirs.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})
    with torch.no_grad():
        expected = theirs.forward_intermediates(
            torch.from_numpy(images), [0, 2, 3], return_prefix_tokens=True, norm=norm, output_fmt="NLC",
            intermediates_only=True,
        )  # fmt: skip
    found = model.forward_intermediates(paddle.to_tensor(images), [0, 2, -1], norm)
    for ours, (patches, prefix) in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), np.concatenate([prefix, patches], axis=1), rtol=0, atol=2e-5)


def test_tokens_are_those_of_transformers(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model, images = make_vit()
    header = {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())}
    write_safetensors(tmp_path / "own.safetensors", model_arrays(model), header)
    convert(tmp_path / "own.safetensors", tmp_path / "vit")
    theirs = transformers.ViTForImageClassification.from_pretrained(tmp_path / "vit").eval()
    with torch.no_grad():
        states = theirs.vit(torch.from_numpy(images), output_hidden_states=True).hidden_states  # the first is embedded
    for ours, expected in zip(
        model.forward_intermediates(paddle.to_tensor(images), norm=False), states[1:], strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=0, atol=2e-5)


def test_the_last_block_is_the_encoders_output_and_later_blocks_do_not_run():
    model, images = make_vit()
    images = paddle.to_tensor(images)
    last, first = model.forward_intermediates(images, [3, 0])
    assert np.array_equal(last.numpy(), model.norm(model.encode(model.patchify(images))).numpy())
    assert np.array_equal(first.numpy(), model.forward_intermediates(images)[0].numpy())
    model.blocks[2].forward = None  # not callable
    assert np.array_equal(first.numpy(), model.forward_intermediates(images, [0])[0].numpy())


def test_a_masked_autoencoder_has_them_with_gradients_through_recomputing():
    paddle.seed(0)
    model = MaskedAutoencoderViT(decoder_embed_dim=16, decoder_depth=1, decoder_num_heads=2, **SIZES)
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8))

    def gradient():
        model.clear_gradients()
        sum(tokens.square().sum() for tokens in model.forward_intermediates(images, [1, 3])).backward()
        return model.blocks[0].mlp.fc1.weight.grad.numpy()

    plain = gradient()
    model.grad_checkpointing = True
    np.testing.assert_allclose(gradient(), plain, rtol=1e-5, atol=1e-6)
    assert np.abs(plain).max() > 0


@pytest.mark.parametrize("blocks", [[4], [-5], [0, 9]])
def test_a_block_that_is_not_there_is_named(blocks):
    model, images = make_vit()
    with pytest.raises(ValueError, match=rf"blocks \[{blocks[-1]}\] are not there; the encoder has 4, from 0 to 3"):
        model.forward_intermediates(paddle.to_tensor(images), blocks)
