"""Pictures and yardsticks against direct computation."""

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops import MaskKey
from mae_data.drawing import choose_bands
from mae_pretrain.reconstruction import Reconstruction, inpaint, masked_error, predict_patches, to_images
from mae_pretrain.visualize import COLUMNS, draw_grid, reconstruction_columns


class Clairvoyant(MaskedAutoencoderViT):
    """Predicts its targets, so a right picture is the original."""

    def forward(self, images, mask_ratio=0.75, *, noise=None, mask=None, valid=None, return_pred=True):
        loss, _, used = super().forward(images, mask_ratio, noise=noise, valid=valid)
        return loss, self.targets(self.patchify(images)), used


def make(kind=Clairvoyant, **kwargs):
    small = {
        "embed_dim": 16,
        "depth": 1,
        "num_heads": 2,
        "decoder_embed_dim": 8,
        "decoder_depth": 1,
        "decoder_num_heads": 2,
    }
    return kind(**{**small, "img_size": (16, 12), "patch_size": 4, **kwargs})


def images(chans, n=3):
    return np.random.default_rng(0).integers(0, 256, (n, 16, 12, chans), dtype=np.uint8)


@pytest.mark.parametrize("norm_pix", [True, False])
@pytest.mark.parametrize("chans", [1, 3])
def test_normalisation_is_undone_exactly(norm_pix, chans):
    model, pixels = make(in_chans=chans, norm_pix_loss=norm_pix), images(chans)
    recon = predict_patches(model, paddle.to_tensor(pixels), 0.5, paddle.rand([3, 12]))
    shown = choose_bands(model.pixel_mean, model.pixel_std)
    np.testing.assert_array_equal(to_images(recon.original, 4, (4, 3), shown), pixels)
    np.testing.assert_array_equal(to_images(recon.predicted, 4, (4, 3), shown), pixels)
    assert masked_error(recon, recon.predicted).max() < 1e-8


@pytest.mark.parametrize("chans", [1, 3])
def test_what_is_given_with_normalised_pixels_is_one_mean_of_each_patch(chans):
    """By plain loops in float64: one mean over a patch's normalised values of all channels, turned back into pixels."""
    model, pixels = make(in_chans=chans, norm_pix_loss=True), images(chans)
    recon = predict_patches(model, paddle.to_tensor(pixels), 0.5, paddle.rand([3, 12]))
    mean, std = np.array(model.pixel_mean), np.array(model.pixel_std)
    errors = np.zeros(3)
    for i, j in np.argwhere(recon.mask.numpy() == 1):
        top, left = 4 * (j // 3), 4 * (j % 3)
        patch = pixels[i, top : top + 4, left : left + 4].astype(np.float64) / 255  # [4, 4, C]
        filled = ((patch - mean) / std).mean() * std + mean  # [C]
        errors[i] += ((patch - filled) ** 2).mean() / 6
    np.testing.assert_allclose(masked_error(recon, recon.patch_mean), errors, rtol=1e-5)
    plain = predict_patches(make(in_chans=chans, norm_pix_loss=False), paddle.to_tensor(pixels), 0.5)
    assert plain.patch_mean is None


def test_masked_error_counts_removed_patches_only():
    original, mask = paddle.zeros([2, 4, 3]), paddle.to_tensor([[1.0, 0, 0, 1], [0, 0, 1, 1]])
    predicted = paddle.to_tensor(np.arange(8, dtype="float32").reshape(2, 4, 1).repeat(3, axis=2))
    errors = masked_error(Reconstruction(original, predicted, mask), predicted)
    np.testing.assert_allclose(errors, [(0 + 9) / 2, (36 + 49) / 2])


def test_inpainting_by_hand():
    model = make(in_chans=3)
    patches = np.random.default_rng(1).random((2, 12, 48)).astype("float32")
    mask = np.zeros((2, 12), dtype="float32")
    mask[:, [0, 5, 7]] = 1
    filled = inpaint(Reconstruction(paddle.to_tensor(patches), None, paddle.to_tensor(mask)), model).numpy()
    place = [divmod(i, 3) for i in range(12)]
    total, weights = np.zeros(3), 0.0
    for other in set(range(12)) - {0, 5, 7}:
        squared = (place[5][0] - place[other][0]) ** 2 + (place[5][1] - place[other][1]) ** 2
        total += patches[1, other].reshape(16, 3).mean(0) / squared**1.5
        weights += 1 / squared**1.5
    np.testing.assert_allclose(filled[1, 5].reshape(16, 3), np.tile(total / weights, (16, 1)), rtol=1e-5)


def test_columns_show_what_their_titles_say():
    model, pixels = make(MaskedAutoencoderViT, in_chans=3, norm_pix_loss=False), images(3)
    model.eval()
    key = MaskKey(4, 0, paddle.arange(len(pixels)))
    original, masked, predicted, pasted = reconstruction_columns(model, pixels, 0.75, key)
    np.testing.assert_array_equal(original, pixels)
    kept = (masked == pixels).all(-1)
    assert kept.sum() >= 3 * 3 * 16  # three of twelve patches of sixteen pixels stay, in three images
    assert ((masked == 128) | (masked == pixels)).all()
    np.testing.assert_array_equal(pasted[kept], pixels[kept])
    hidden = ~kept & (masked == 128).all(-1)
    np.testing.assert_array_equal(pasted[hidden], predicted[hidden])


SCENES = {"uint16": (65535, lambda x: x.astype(np.uint16) * 257), "float32": ([-1.0, 1.0], lambda x: x / 127.5 - 1)}


@pytest.mark.parametrize("dtype", SCENES)
def test_other_ranges_and_bands_are_shown_around_their_mean(dtype):
    value_range, convert = SCENES[dtype]
    scene = images(5)
    mean, std = (0.3, 0.4, 0.5, 0.6, 0.7), (0.05, 0.1, 0.15, 0.2, 0.25)
    model = make(in_chans=5, value_range=value_range, pixel_mean=mean, pixel_std=std, norm_pix_loss=False)
    shown = choose_bands(mean, std, value_range, (4, 2, 0))
    stored = convert(scene).astype(dtype)
    key = MaskKey(4, 0, paddle.arange(len(stored)))
    original, masked, predicted, _ = reconstruction_columns(model, stored, 0.75, key, shown)
    unit = scene[..., [4, 2, 0]].astype(np.float64) / 255
    low, high = (np.array([mean[b] + sign * 2.5 * std[b] for b in (4, 2, 0)]) for sign in (-1, 1))
    expected = 255 * ((unit - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(original, expected, atol=0.51)
    np.testing.assert_allclose(predicted, expected, atol=0.52)  # it predicts its targets
    assert ((masked == 128) | (masked == original)).all()
    assert shown.caption().startswith("bands 4 2 0 (from 0) as red, green, blue, black to white: mean -2.5")


@pytest.mark.parametrize("bands", [(0, 1, 5), (-1, 0, 1), (0, 1)])
def test_bands_that_are_not_there_are_refused(bands):
    with pytest.raises(ValueError, match="give one or three numbers from 0 to 4"):
        choose_bands([0.5] * 5, [0.2] * 5, 65535, bands)


def test_grid_has_a_place_for_every_image_and_a_caption():
    columns = [images(1)] * len(COLUMNS)
    grid = draw_grid(columns, "caption")
    assert grid.mode == "RGB"
    assert grid.width > 4 * 96
    assert grid.height > 3 * 128
    tile = np.asarray(grid)[22 : 22 + 128, 8 : 8 + 96, 0]
    np.testing.assert_array_equal(tile[::8, ::8], columns[0][0, :, :, 0])
