"""Attention maps against NumPy float64, and the pictures."""

import numpy as np
import paddle
from PIL import Image
from stage_runs import PROBE

import mae_core
from mae_core.evaluation.attention import attention_weights, class_maps, rollout
from mae_core.models import VisionTransformer
from mae_probe.attention import overlay, overlays

TINY = PROBE.tiny

assert mae_core


def test_weights_explain_what_each_attention_layer_gives():
    """The layer's own output, from its own fused operation, is weights @ values, projected."""
    paddle.seed(0)
    model = VisionTransformer(img_size=(8, 12), patch_size=4, embed_dim=16, depth=2, num_heads=2, global_pool=False)
    model.eval()
    for block in model.blocks:  # far from uniform weights
        block.attn.qkv.weight.set_value(8 * block.attn.qkv.weight)
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8))
    seen = []
    hooks = [b.attn.register_forward_post_hook(lambda m, i, o: seen.append((i[0], o))) for b in model.blocks]
    blocks = attention_weights(model, images)
    assert [h.remove() for h in hooks]
    assert len(blocks) == len(seen) == 2
    for weights, block, (x, out) in zip(blocks, model.blocks, seen, strict=True):
        assert weights.shape == (3, 2, 7, 7)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
        assert weights.max() > 0.5
        x, out = (t.numpy().astype(np.float64) for t in (x, out))
        a = block.attn
        values = x @ a.qkv.weight.numpy()[:, 32:] + a.qkv.bias.numpy()[32:]
        values = values.reshape(3, 7, 2, 8)
        mixed = np.einsum("nhqk,nkhd->nqhd", weights, values).reshape(3, 7, 16)
        np.testing.assert_allclose(
            mixed @ a.proj.weight.numpy() + a.proj.bias.numpy(), out, rtol=1e-5, atol=1e-5 * np.abs(out).max()
        )
    maps = class_maps(blocks[-1], model.grid)
    assert maps.shape == (3, 2, 2, 3)
    assert maps[1, 0, 1, 2] == blocks[-1][1, 0, 0, 6]
    assert not any(block.attn._forward_pre_hooks for block in model.blocks)  # none is left


def test_rollout_multiplies_the_blocks_from_the_last_to_the_first():
    rng = np.random.default_rng(0)
    blocks = [rng.dirichlet(np.ones(5), size=(1, 3, 5)).astype(np.float32) for _ in range(3)]
    row = np.eye(5)[0]  # the class token, followed down from the last block
    for weights in blocks[::-1]:
        row = 0.5 * row + 0.5 * row @ weights[0].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(rollout(blocks, (2, 2))[0].ravel(), row[1:], rtol=1e-6)


def test_overlay_is_red_where_the_weight_is_and_the_image_elsewhere():
    image = np.full((8, 8, 1), 100, np.uint8)
    shown = overlay(image, np.array([[0.0, 0.2], [0.0, 0.0]]))
    assert shown.shape == (8, 8, 3)
    assert shown[0, 7].tolist() == [208, 58, 30]  # 30 % of the image, 70 % of the colour
    assert shown[7, 0].tolist() == [100, 100, 100]


def test_heads_are_told_apart_by_colour_and_the_scale_is_in_the_titles():
    image, spot = np.full((8, 8, 1), 100, np.uint8), np.array([[0.0, 0.2], [0.0, 0.0]])
    maps = {"mean of heads": spot, "rollout": spot} | {f"head {i}": spot * (i + 1) / 4 for i in range(12)}
    drawn = overlays(image, maps)
    assert [title for title, _ in drawn][:4] == [
        "image",
        "mean of heads: to 20%",
        "rollout: to 20%",
        "head 0: to 5%",
    ]
    colours = np.array([picture[0, 7] for _, picture in drawn[3:]], int)
    apart = np.abs(colours[:, None] - colours).max(axis=-1) + 255 * np.eye(12, dtype=int)
    assert apart.min() > 30
    assert all((picture[7, 0] == 100).all() for _, picture in drawn), "where nothing is looked at, the image"


def test_the_command_draws_a_png_for_each_image(data, pretrained, cli, tmp_path):
    images = [data / "val/class 0/a 0.jpg", data / "val/class 1/a 1.jpg"]
    sets = [word for i in range(0, len(TINY), 2) for word in ("--set", *TINY[i : i + 2])]
    result = cli("attention", *images, "-pretrained", pretrained, "-output", tmp_path / "maps", *sets)
    assert result.returncode == 0, result.stderr
    made = [tmp_path / "maps" / f"a {i}_attention.png" for i in range(2)]
    assert result.stdout.splitlines()[-2:] == [str(p) for p in made]
    with Image.open(made[0]) as picture:
        assert picture.size[0] >= 5 * 168 + 8  # image, mean, rollout, two heads
        assert picture.size[1] > 160 + 30  # and what the colours say
    twice = cli("attention", images[0], images[0], "-pretrained", pretrained, "-output", tmp_path, *sets)
    assert twice.returncode == 2
    assert "would both become" in twice.stderr
