"""The refined encoder: what learns in which stage, what is drawn, and the two stages' learning rate."""

import numpy as np
import paddle
import pytest

from mae_core.ops.philox import draw_words
from mae_core.ops.random_masking import MaskKey, random_masking
from mae_pretrain.refine.heads import ContrastHead, HeadSettings
from mae_pretrain.refine.model import RefinedEncoder
from mae_pretrain.refine.schedule import TwoStages
from mae_pretrain.refine.views import BrightnessJitter

HEADS = HeadSettings(out_dim=6, projector_dim=10, predictor_dim=12, queue=9, neighbours=3)
SIZES = {"img_size": 8, "patch_size": 4, "in_chans": 1, "embed_dim": 8, "depth": 3, "num_heads": 2}


def build(heads: int = 2) -> RefinedEncoder:
    paddle.seed(0)
    return RefinedEncoder(heads=heads, settings=HEADS, views=2, **SIZES)


def batch() -> tuple[paddle.Tensor, paddle.Tensor]:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
    return paddle.to_tensor(images), paddle.to_tensor([4, 4, 7, 7, 2, 2])


def test_the_loss_is_the_sum_over_heads_on_class_tokens_of_the_last_blocks():
    model, expected = build(), 0.0
    images, numbers = batch()
    loss = model(images, numbers, seed=3, epoch=5, heads_alone=False)
    again = build()
    tokens = again.forward_intermediates(images, [1, 2])
    for place, (head, output) in enumerate(zip(again.head.values(), tokens, strict=True)):
        views = [output[view::2, 0] for view in range(2)]
        uniform = [draw_words(3, 5, [4, 7, 2], 2**24 + 2 * place + view)[0] for view in range(2)]
        expected += float(head(views, paddle.to_tensor([4, 7, 2]), paddle.to_tensor(np.stack(uniform))))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert list(model.head.keys()) == ["block_1", "block_2"]
    assert all(head.queued.tolist() == [4, 7, 2] + [-1] * 6 for head in model.head.values())


def test_the_encoder_learns_in_the_second_stage_only():
    for alone in (True, False):
        model = build()
        model(*batch(), seed=0, epoch=0, heads_alone=alone).backward()
        learning = {name for name, p in model.named_parameters() if p.grad is not None}
        assert {name for name in learning if name.startswith("head.")} == {
            name for name, _ in model.named_parameters() if name.startswith("head.")
        }
        others = {name for name, p in model.named_parameters() if not (name.startswith("head.") or p.stop_gradient)}
        assert learning - {name for name in learning if name.startswith("head.")} == (set() if alone else others)
        assert {"blocks.0.attn.qkv.weight", "norm.weight"} <= others
        assert "norm.bias" not in others  # whatever it is, the loss is the same


def test_masked_views_are_encoded_from_what_is_left_each_by_a_mask_of_its_own():
    paddle.seed(0)
    model = RefinedEncoder(heads=1, settings=HEADS, views=2, mask_ratio=0.5, **SIZES)
    images, numbers = batch()
    loss = model(images, numbers, seed=3, epoch=5, heads_alone=True)
    apart = numbers + paddle.to_tensor([0, 2**40] * 3)
    visible, masking = random_masking(images, 0.5, noise=MaskKey(3, 5, apart), pixels=model.pixels)
    assert len({tuple(row) for row in masking.ids_keep.tolist()}) > 1
    tokens = model.norm(model.encode(visible, masking.ids_keep))
    uniform = [draw_words(3, 5, [4, 7, 2], 2**24 + view)[0] for view in range(2)]
    head = ContrastHead(8, HEADS)
    head.set_state_dict(head.state_dict() | dict(model.head["block_2"].named_parameters()))
    expected = head([tokens[view::2, 0] for view in range(2)], numbers[::2], paddle.to_tensor(np.stack(uniform)))
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_more_heads_than_blocks_are_refused():
    with pytest.raises(ValueError, match="heads=4; the encoder has 3 blocks"):
        build(heads=4)


def test_two_stages_warm_up_and_anneal():
    stages = TwoStages(heads_epochs=20, epochs=50, heads_lr=2.0, lr=4.0, warmup_epochs=4)
    expected = {0: 0, 2: 1, 4: 2, 12: 1, 20: 0, 22: 2, 24: 4, 37: 2, 50: 0}
    assert {epoch: round(stages.lr_at(epoch), 9) for epoch in expected} == expected
    assert stages.lr_at(19.999) < 1e-6
    assert [stages.heads_alone(epoch) for epoch in (0, 19.99, 20, 49)] == [True, True, False, False]
    short = TwoStages(heads_epochs=2, epochs=4, heads_lr=1.0, lr=1.0, warmup_epochs=4)
    assert [short.lr_at(e) for e in (1, 3)] == [1, 1]  # half of a short stage at most


def test_without_a_first_stage_all_learn_from_the_start():
    stages = TwoStages(heads_epochs=0, epochs=10, heads_lr=1.0, lr=3.0, warmup_epochs=2)
    assert not stages.heads_alone(0)
    assert [stages.lr_at(e) for e in (0, 1, 2)] == [0, 1.5, 3]


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("uint16", 0, 4000), ("float32", -1.0, 3.0)])
def test_jitter_bends_and_dims_a_view_as_the_formula_says(dtype, low, high):
    rng = np.random.default_rng(1)
    pixels = (low + rng.random((5, 4, 2)) * (high - low)).astype(dtype)
    jitter = BrightnessJitter(lambda image, rng: image, 0.8, low, high)
    given = np.random.default_rng(2)
    bend, dim = np.random.default_rng(2).random(2)
    share = (pixels.astype(np.float64) - low) / (high - low)
    expected = share ** np.exp(0.8 * (2 * bend - 1)) * (1 - 0.4 * dim) * (high - low) + low
    found = jitter(pixels, given)
    assert found.dtype == pixels.dtype
    np.testing.assert_allclose(found, expected, atol=0.51 if dtype != "float32" else 1e-5)
    assert np.abs(found.astype(float) - pixels).max() > 0.05 * (high - low)
