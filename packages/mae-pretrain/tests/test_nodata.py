"""Pre-training on images with holes: what counts, what is drawn, and that runs stay reproducible."""

import json

import numpy as np
import paddle
import pytest
from stage_runs import PRETRAIN, assert_same

import mae_core
import mae_pretrain
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops.patches import patchify
from mae_data.images.nodata import as_nodata
from mae_data.images.stored import as_read
from mae_data.images.value_range import as_value_range
from mae_data.loading.loader import as_paddle_takes
from mae_pretrain.cli import main
from mae_pretrain.reconstruction import masked_error, predict_patches, split_coverage
from mae_pretrain.visualize import reconstruction_columns

assert mae_core
SMALL = {"embed_dim": 16, "depth": 1, "num_heads": 2}
SMALL |= {f"decoder_{key}": value for key, value in SMALL.items()}
RANGES = {"uint8": 255, "uint16": 40000, "float32": [-9.0, 9.0]}


def with_holes(kind, chans=2, seed=0):
    """Draw an image [16, 16, C] of 4-pixel patches: patch 0 without data, 1 mostly, 2 half, 3 hardly."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=(16, 16, chans)) if kind == "float32" else rng.integers(1, 250, (16, 16, chans))
    pixels = pixels.astype(kind)
    pixels[:4, :4], pixels[:3, 4:8], pixels[:2, 8:12], pixels[:1, 12:] = 0, 0, 0, 0
    return pixels


def covered(pixels, kind, chans=2):
    mean = [0.5] * chans
    image = as_read(pixels, chans, as_value_range(RANGES[kind]), nodata=as_nodata(0, mean, coverage=True))
    return paddle.to_tensor(as_paddle_takes(image.pixels[None]))


def make(kind, chans=2, **kwargs):
    options = {"img_size": 16, "patch_size": 4, "in_chans": chans, "value_range": RANGES[kind], **SMALL, **kwargs}
    return MaskedAutoencoderViT(**options)


@pytest.mark.parametrize("kind", RANGES)
def test_a_patch_holds_data_where_at_least_half_of_it_are(kind):
    model, pixels = make(kind), with_holes(kind)
    images, valid = split_coverage(model.pixels, covered(pixels, kind))
    assert valid.numpy().tolist() == [[0, 0, 1, 1] + [1] * 12]
    limits = as_value_range(RANGES[kind])
    mean = limits.low + limits.span / 2
    filled = np.where(pixels == 0, mean if limits.is_float else np.rint(mean), pixels).astype(pixels.dtype)
    np.testing.assert_array_equal(images.numpy()[0], as_paddle_takes(filled))
    again, nothing = split_coverage(model.pixels, images)
    assert nothing is None
    assert again is images


@pytest.mark.parametrize("kind", RANGES)
def test_errors_are_those_of_patches_with_data(kind):
    model, images = make(kind), covered(with_holes(kind), kind)
    recon = predict_patches(model, images, 0.75, paddle.rand([1, 16]))
    removed, valid = recon.mask.numpy()[0] == 1, recon.valid.numpy()[0] == 1
    assert removed.sum() == 12
    assert removed[:2].all()
    squared = (recon.predicted - recon.original).square().mean(axis=-1).numpy()[0]
    np.testing.assert_allclose(masked_error(recon, recon.predicted)[0], squared[removed & valid].mean(), rtol=1e-5)


def test_pictures_stripe_patches_without_data():
    model, pixels = make("uint8", 3), with_holes("uint8", 3)
    original, *others = reconstruction_columns(model, covered(pixels, "uint8", 3).numpy(), 0.75, paddle.rand([1, 16]))
    shown = patchify(paddle.to_tensor(original), 4).numpy()[0]
    assert set(np.unique(shown[:2])) == {0, 255}
    for column in others:
        np.testing.assert_array_equal(patchify(paddle.to_tensor(column), 4).numpy()[0, :2], shown[:2])
    np.testing.assert_array_equal(original[0, 8:], pixels[8:])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for i in range(16):
        pixels = rng.normal(size=(24, 24, 4)).astype(np.float32)
        pixels[:, : i + 4] = np.nan if i % 2 else -9999
        np.save(root / f"{i}.npy", pixels)
    (root / "train_list.txt").write_text("".join(f"{i}.npy\n" for i in range(16)))
    (root / "val_list.txt").write_text("".join(f"{i}.npy\n" for i in range(5)))
    return root


CHANNELS = ["DATA.IMAGE_CHANNELS", "4", "DATA.VALUE_RANGE", "[-9, 9]", "-batch_size", "8", "DATA.NODATA", "-9999"]


def test_runs_are_reproducible_and_are_evaluated(scenes, tmp_path, capsys):
    common = ["-data_path", str(scenes), *PRETRAIN.tiny, *CHANNELS]
    whole = tmp_path / "whole"
    monitor = ["MONITOR.EVERY", "1", "MONITOR.PICTURES", "2"]
    assert main([*common, "-output", str(whole), "DATA.NUM_WORKERS", "2", *monitor]) == 0
    record = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["val_loss"]) for line in record if "val_loss" in line)
    again = tmp_path / "again"
    assert main([*common, "-output", str(again)]) == 0
    assert_same(whole, again)
    assert main(["-eval", "-pretrained", str(whole), "-data_path", str(scenes)]) == 0
    assert "5 images" in capsys.readouterr().out
    # the weights remember what no data are: pictures from Python, of a file
    pictures = mae_pretrain.reconstruct(whole, scenes / "15.npy", mask_ratio=0.75)
    assert "striped" in pictures.caption
    assert set(np.unique(pictures.original[0, :, :8])) == {0, 255}
    assert (
        main(["visualize", "-pretrained", str(whole), "-output", str(tmp_path / "a.png"), str(scenes / "1.npy")]) == 0
    )
