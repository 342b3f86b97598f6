"""Partial fine-tuning: exactly the last k blocks move (paper Figure 9)."""

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401
from mae_core.models import VisionTransformer
from mae_finetune.optimizer import build_optimizer, freeze_below

HEAD = {"fc_norm", "head"}
MLP_OF_LAST = {"blocks.2.norm2", "blocks.2.mlp.fc1", "blocks.2.mlp.fc2"}
BLOCK = {"norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"}


@pytest.mark.parametrize(
    ("blocks", "layers"),
    [
        (0, HEAD),
        (0.5, HEAD | MLP_OF_LAST),
        (1, HEAD | {f"blocks.2.{part}" for part in BLOCK}),
        (2, HEAD | {f"blocks.{i}.{part}" for i in (1, 2) for part in BLOCK}),
        (3, HEAD | {f"blocks.{i}.{part}" for i in (0, 1, 2) for part in BLOCK}),
    ],
)
@pytest.mark.parametrize("grad_checkpointing", [False, True])
def test_only_the_last_blocks_move(blocks, layers, grad_checkpointing):
    paddle.seed(0)
    model = VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=3, num_heads=2, num_classes=3)
    model.head.weight.set_value(paddle.randn([8, 3]))
    model.grad_checkpointing = grad_checkpointing
    freeze_below(model, blocks)
    optimizer = build_optimizer(model, layer_decay=0.75)
    optimizer.set_lr(0.1)
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    model(paddle.randn([4, 3, 8, 8])).square().sum().backward()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not np.array_equal(before[name], p.numpy())}
    assert {name.rsplit(".", 1)[0] for name in moved} == layers
    assert not moved & {"pos_embed", "cls_token"}
