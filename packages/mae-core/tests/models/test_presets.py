"""Parameter counts of the paper's models, to the digit, and initial values."""

import numpy as np
import paddle
import pytest

import mae_core
from mae_core.models import MaskedAutoencoderViT, VisionTransformer

# total with positions, trainable, decoder side, classifier with 1000 classes and global pool
COUNTS = {
    "base_patch16": (111_907_840, 111_655_680, 26_109_184, 86_567_656),
    "large_patch16": (329_541_888, 329_239_296, 26_240_256, 304_326_632),
    "huge_patch14": (657_074_508, 656_613_964, 26_309_708, 632_045_800),
}


def count(parameters):
    return sum(int(np.prod(p.shape)) for p in parameters)


@pytest.mark.parametrize("size", ["base_patch16", "large_patch16", "huge_patch14"])
def test_parameter_counts_are_the_papers(size):
    total, trainable, decoder, classifier = COUNTS[size]
    with paddle.LazyGuard():  # gigabytes of initial values are not what is counted
        model = mae_core.build_model(f"mae_vit_{size}")
        classifier_model = mae_core.build_model(f"vit_{size}")
    assert count(model.parameters()) == total
    assert count(p for p in model.parameters() if not p.stop_gradient) == trainable
    is_decoder = lambda name: name.startswith(("decoder_", "mask_token"))  # noqa: E731
    assert count(p for name, p in model.named_parameters() if is_decoder(name)) == decoder
    assert count(classifier_model.parameters()) == classifier


def test_every_preset_is_of_its_kind_and_takes_overrides():
    for name in ("tiny_patch16", "small_patch16"):
        mae = mae_core.build_model(f"mae_vit_{name}", img_size=32, in_chans=1, decoder_depth=1)
        vit = mae_core.build_model(f"vit_{name}", img_size=32, in_chans=1, num_classes=7, global_pool=False)
        assert isinstance(mae, MaskedAutoencoderViT)
        assert isinstance(vit, VisionTransformer)
        images = paddle.zeros([2, 1, 32, 32])
        assert mae(images)[1].shape == [2, 4, 256]
        assert vit(images).shape == [2, 7]
    with pytest.raises(ValueError, match="mae_vit_base_patch16"):
        mae_core.build_model("vit_giant")


def test_initial_values_are_the_papers():
    paddle.seed(0)
    mae = mae_core.build_model("mae_vit_base_patch16", depth=1, decoder_depth=1)
    bound = np.sqrt(6 / (768 + 3 * 16 * 16))  # Xavier on [D, 3*p*p]: about 0.0625, not a convolution's fans
    largest = np.abs(mae.patch_embed.proj.weight.numpy()).max()
    assert 0.999 * bound < largest <= bound
    qkv = np.abs(mae.blocks[0].attn.qkv.weight.numpy()).max()
    assert 0.999 * np.sqrt(6 / (768 * 4)) < qkv <= np.sqrt(6 / (768 * 4))
    for name, p in mae.named_parameters():
        if name.endswith(".bias"):
            assert not p.numpy().any(), name
    for token in (mae.cls_token, mae.mask_token):
        assert 0.017 < token.numpy().std() < 0.023
        assert abs(token.numpy().mean()) < 0.005
    assert mae.norm._epsilon == mae.blocks[0].norm1._epsilon == 1e-6


@pytest.mark.parametrize("std", [2.0e-5, 0.01])
def test_the_head_starts_as_timms_truncated_normal_does(std):
    """Cut at plus and minus 2, not at two deviations: 0.27 % lie beyond three, and the deviation is the one given."""
    paddle.seed(0)
    small = {"img_size": 8, "patch_size": 4, "embed_dim": 256, "depth": 1, "num_heads": 1}
    own = {} if std == 2.0e-5 else {"head_init_std": std}  # fine-tuning's is the default
    head = VisionTransformer(num_classes=1000, **own, **small).head
    weight = head.weight.numpy().astype(np.float64) / std
    assert weight.std() == pytest.approx(1.0, abs=0.01)  # seven standard errors; cut at two deviations: 0.88
    assert weight.mean() == pytest.approx(0.0, abs=0.01)
    assert (abs(weight) > 3).mean() == pytest.approx(0.0027, rel=0.2)
    assert (head.bias.numpy() == 0).all()


def test_drop_path_grows_linearly_and_scales_what_survives():
    model = mae_core.build_model("vit_tiny_patch16", img_size=16, depth=3, drop_path_rate=0.2)
    assert [b.drop_path.rate for b in model.blocks] == pytest.approx([0.0, 0.1, 0.2])
    drop, x = model.blocks[2].drop_path, paddle.ones([4000, 1, 2])
    model.train()
    values = drop(x).numpy()[:, 0]
    assert set(np.unique(values.round(4))) == {0.0, 1.25}
    assert abs((values[:, 0] == 0).mean() - 0.2) < 0.03
    model.eval()
    assert (drop(x).numpy() == 1).all()
