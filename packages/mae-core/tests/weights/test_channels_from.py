"""Weights for images of another number of channels: what stays exactly, what keeps its size, what is refused."""

import json

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file

import mae_core
from mae_core import MaskedAutoencoderViT, VisionTransformer
from mae_core.errors import CheckpointError, UserError
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.weights.adaptation import mix_channels, mixed_statistics, mixture
from mae_core.weights.convert import convert
from mae_core.weights.metadata import metadata_of
from mae_core.weights.sources import read_weights

SMALL = {"img_size": (8, 12), "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 4}
DECODER = {"decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 2, "norm_pix_loss": False}
GREY = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An autoencoder of RGB, with ImageNet's statistics, and its file."""
    paddle.seed(3)
    model = MaskedAutoencoderViT(**SMALL, **DECODER)
    for name in ("patch_embed.proj.bias", "decoder_pred.bias"):  # which begin as zeros
        bias = dict(model.named_parameters())[name]
        bias.set_value(paddle.randn(bias.shape))
    model.eval()
    file = tmp_path_factory.mktemp("rgb") / "rgb.safetensors"
    metadata = {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())}
    save_file(model_arrays(model), file, metadata=metadata)
    return model, file


def features(model, images):
    return model.forward_features(paddle.to_tensor(images)).numpy()


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_a_grey_image_gives_what_it_gave_as_rgb(original, channels, published, tmp_path):
    model, file = original
    if published:  # a file that records no statistics: ImageNet's are meant
        convert(file, tmp_path / "a.pth")
        file = tmp_path / "a.pth"
    facts = {"num_heads": 4, "decoder_num_heads": 2, "img_size": (8, 12), "norm_pix_loss": False} if published else {}
    adapted = mae_core.load(file, in_chans=channels, channels_from="mean", **facts)
    assert adapted.in_chans == channels
    assert adapted.pixel_mean == pytest.approx((np.mean([0.485, 0.456, 0.406]),) * channels)
    own = features(adapted, np.repeat(GREY, channels, axis=3))
    np.testing.assert_allclose(own, features(model, np.repeat(GREY, 3, axis=3)), atol=1e-5, rtol=0)


def test_channels_that_are_repeated_give_what_they_gave_once(original):
    model, file = original
    rgb = np.random.default_rng(1).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    six = mae_core.load(file, in_chans=6, channels_from="repeat")
    assert six.pixel_std == model.pixel_std * 2
    np.testing.assert_allclose(features(six, np.tile(rgb, 2)), features(model, rgb), atol=1e-5, rtol=0)
    first = mae_core.load(file, in_chans=1, channels_from="first")
    assert (first.pixel_mean, first.pixel_std) == ((0.485,), (0.229,))


@pytest.mark.parametrize("way", ["repeat", "mean", "first"])
@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_activations_keep_their_size(original, channels, way):
    """Of images whose channels have much in common, as those of photographs and satellites do."""
    model, file = original
    rng = np.random.default_rng(2)
    shared, own = rng.standard_normal((400, 16, 1)), rng.standard_normal((400, 16, 8))
    pixels = (0.9 * shared + 0.44 * own).astype("float32")  # normalised, correlated by 0.8
    adapted = mae_core.load(file, in_chans=channels, channels_from=way)

    def size(m, count):
        out = m.patch_embed(paddle.to_tensor(pixels[..., :count].reshape(400, -1))).numpy()
        return float(out.std(axis=0).mean())

    assert 0.6 < size(adapted, channels) / size(model, 3) < 2.0


def test_weights_are_summed_or_repeated_and_scaled(original):
    """As timm's `adapt_input_conv` does, for channels of the same statistics."""
    weights = read_weights(original[1])
    own = np.asarray(weights.arrays["patch_embed.proj.weight"]).reshape(16, 3, 16)
    four = np.concatenate([own, own[:, :1]], axis=1) * 3 / 4
    for way, expected in {"mean": own.sum(axis=1, keepdims=True), "repeat": four}.items():
        adapted = mix_channels(weights, expected.shape[1], way, (0.5,) * 3, (0.5,) * 3).arrays
        found = adapted["patch_embed.proj.weight"].reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(adapted["patch_embed.proj.bias"], weights.arrays["patch_embed.proj.bias"])


def test_there_and_back_are_the_same_weights(original):
    weights = read_weights(original[1])
    mean, std = weights.metadata.pixel_mean, weights.metadata.pixel_std
    there = mix_channels(weights, 6, "repeat", mean, std)
    assert there.arrays["decoder_pred.weight"].shape == (8, 4 * 4 * 6)
    back = mix_channels(there, 3, "repeat", there.metadata.pixel_mean, there.metadata.pixel_std)
    for name, array in weights.arrays.items():
        np.testing.assert_allclose(back.arrays[name], array, rtol=1e-6, err_msg=name)
    assert mix_channels(weights, 3, "mean", mean, std) is weights


def test_the_head_predicts_the_mixture_of_what_it_predicted(original):
    model, file = original
    latent = paddle.randn([2, 5, 8])
    before = model.decoder_pred(latent).numpy().reshape(2, 5, 16, 3)
    for way, expected in {"mean": before.mean(axis=3, keepdims=True), "first": before[..., :1]}.items():
        adapted = mae_core.load(file, in_chans=2, channels_from=way)
        found = adapted.decoder_pred(latent).numpy().reshape(2, 5, 16, 2)
        np.testing.assert_allclose(found, np.repeat(expected, 2, axis=3), atol=1e-6)


def test_it_is_said_and_nothing_is_adapted_unasked(original):
    _, file = original
    model = VisionTransformer(**SMALL, in_chans=4, num_classes=0)
    report = mae_core.load_pretrained(model, file, channels_from="repeat")
    line = "adapted from 3 to 4 channels (repeat): patch embedding, scaled so that activations keep their size"
    assert any(said.startswith(line) for said in report.lines())
    with pytest.raises(
        CheckpointError, match=r"in_chans is 3, the model's 4 \(channels_from 'repeat', 'mean' or 'first'"
    ):
        mae_core.load_pretrained(model, file)
    with pytest.raises(UserError, match="channels_from='median' is not one of repeat, mean, first"):
        mae_core.load_pretrained(model, file, channels_from="median")


def test_statistics_follow_the_channels():
    assert mixed_statistics(mixture("repeat", 3, 4), (0.1, 0.2, 0.3), (1, 2, 3)) == ([0.1, 0.2, 0.3, 0.1], [1, 2, 3, 1])
    assert mixture("mean", 3, 2).sum(axis=1) == pytest.approx(1)
