"""Muon against its formula in NumPy and against PyTorch's, and whole runs with it."""

import shutil

import numpy as np
import paddle
import pytest
from stage_runs import PRETRAIN, assert_same

import mae_core
from mae_core.training.optim import AdamW, trainable
from mae_pretrain.optimizers.muon import Muon, build_muon, hidden_matrices, orthogonal

WORDS = [*PRETRAIN.tiny, "TRAIN.OPTIMIZER.NAME", "Muon", "TRAIN.BASE_LR", 0.05]


def newton_schulz(g):
    """Five steps of X <- a X + b (X X^T) X + c (X X^T)^2 X, in float64, written out for rows <= columns."""
    if g.shape[0] > g.shape[1]:
        return newton_schulz(g.T).T
    x = g / np.linalg.norm(g)
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * np.linalg.matrix_power(x @ x.T, 2) @ x
    return x


def published(w, gradients, lrs, decay, parts=1):
    """Muon's Algorithm 2 with Nesterov's momentum, scaled as Moonlight's equation 4; each part by itself."""
    m = np.zeros_like(w)
    for g, lr in zip(gradients, lrs, strict=True):
        m = 0.95 * m + g
        pieces = np.split(g + 0.95 * m, parts, axis=1)
        update = np.concatenate([newton_schulz(p) * 0.2 * np.sqrt(max(p.shape)) for p in pieces], axis=1)
        w = (1 - lr * decay) * w - lr * update
    return w, m


def parameter(values):
    p = paddle.create_parameter(list(values.shape), "float32")
    p.set_value(paddle.to_tensor(values.astype("float32")))
    return p


def run(optimizer, pairs, lrs):
    """Do a step at each rate, with the gradients of each parameter."""
    for i, lr in enumerate(lrs):
        optimizer.set_lr(lr)
        for p, gradients in pairs:
            (p * paddle.to_tensor(gradients[i].astype("float32"))).sum().backward()
        optimizer.step()
        optimizer.clear_grad()


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4), (1, 6)])
def test_singular_values_come_near_one_and_vectors_stay(shape):
    g = np.random.default_rng(0).normal(size=(3, *shape))
    found = orthogonal(paddle.to_tensor(g.astype("float32"))).numpy()
    np.testing.assert_allclose(found, [newton_schulz(one) for one in g], atol=1e-5)
    sizes = np.linalg.svd(found, compute_uv=False)
    assert (sizes > 0.3).all()
    assert (sizes < 1.25).all()


@pytest.mark.parametrize(("shape", "parts"), [((6, 4), 1), ((4, 6), 1), ((4, 12), 3)])
def test_steps_follow_the_published_formula(shape, parts):
    rng, lrs = np.random.default_rng(0), [0.0, 0.3, 0.1, 0.2]
    start, gradients = rng.normal(size=shape), [rng.normal(size=shape) for _ in lrs]
    p = parameter(start)
    optimizer = Muon([(p, parts)], weight_decay=0.1, parameters=[p])
    run(optimizer, [(p, gradients)], lrs)
    expected, momentum = published(start, gradients, lrs, 0.1, parts)
    np.testing.assert_allclose(p.numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(optimizer.state_dict()[f"{p.name}_momentum_0"].numpy(), momentum, rtol=1e-5, atol=1e-5)


def test_steps_are_those_of_pytorch():
    """Which multiplies in bfloat16: within a few per cent of a step."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng, lrs = np.random.default_rng(0), [0.01] * 4
    start, gradients = rng.normal(size=(6, 9)).astype("float32"), [rng.normal(size=(6, 9)) for _ in lrs]
    p, other = parameter(start), torch.nn.Parameter(torch.tensor(start))
    run(Muon([(p, 1)], weight_decay=0.1, parameters=[p]), [(p, gradients)], lrs)
    theirs = torch.optim.Muon([other], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for g in gradients:
        other.grad = torch.tensor(g.astype("float32"))
        theirs.step()
    np.testing.assert_allclose(p.numpy(), other.detach().numpy(), atol=1e-3)
    assert np.abs(p.numpy() - start).mean() > 5e-3


def test_all_but_the_blocks_matrices_take_adamws_steps():
    def model():
        paddle.seed(0)
        return mae_core.build_model("mae_vit_tiny_patch16", img_size=32, depth=1, decoder_depth=1)

    def step(model, optimizer):
        optimizer.set_lr(1e-2)
        sum((p**3).sum() for _, p in trainable(model)).backward()
        optimizer.step()
        optimizer.clear_grad()
        return {name: p.numpy() for name, p in trainable(model)}

    one, two = model(), model()
    hidden = hidden_matrices(one)
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert set(hidden) == {f"{part}.0.{layer}.weight" for part in ("blocks", "decoder_blocks") for layer in layers}
    settings = {"weight_decay": 0.05, "betas": (0.9, 0.95), "eps": 1e-8}
    ours = step(one, build_muon(one, **settings))
    adamw = step(two, mae_core.training.optim.build_adamw(two, **settings))
    for name, value in ours.items():
        assert np.array_equal(value, adamw[name]) == (name not in hidden), name


def test_query_key_and_value_are_matrices_of_their_own_in_either_decoder():
    model = mae_core.build_model("mae_vit_tiny_patch16", img_size=32, depth=1, decoder_depth=1, decoder_kind="cross")
    optimizer = build_muon(model, weight_decay=0.05, betas=(0.9, 0.95), eps=1e-8)
    parts = dict(zip(hidden_matrices(model), (parts for _, parts in optimizer._hidden), strict=True))
    assert {name: n for name, n in parts.items() if n > 1} == {
        "blocks.0.attn.qkv.weight": 3,
        "decoder_blocks.0.attn.kv.weight": 2,
    }


def test_what_has_no_gradient_stays_and_gets_no_state():
    p, q = parameter(np.ones((2, 2))), parameter(np.ones((2, 2)))
    optimizer = Muon([(p, 1), (q, 1)], weight_decay=0.1, parameters=[p, q])
    run(optimizer, [(p, [np.eye(2)])], [0.1])
    assert (q.numpy() == 1).all()
    assert [key for key in optimizer.state_dict() if key != "LR_Scheduler"] == [f"{p.name}_momentum_0"]
    assert isinstance(optimizer, AdamW)


def test_a_run_that_lost_its_end_is_the_same_once_more_and_on_two_ranks_that_share_the_state(data, cli, tmp_path):
    words = ["-data_path", data, *WORDS]
    assert cli(*words, "-batch_size", 8, "-output", tmp_path / "whole").returncode == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again/checkpoints/step_00000009")
    assert cli("-resume", tmp_path / "again", "-output", tmp_path / "again").returncode == 0
    for name, sharded in (("ranks", False), ("sharded", True)):
        PRETRAIN.launch(*words, "-batch_size", 4, "-output", tmp_path / name, "TRAIN.SHARD_OPTIMIZER", sharded)
    for file in ("model", "optimizer"):
        assert_same(tmp_path / "whole", tmp_path / "again", file=file)
        assert_same(tmp_path / "ranks", tmp_path / "sharded", file=file)
    assert_same(tmp_path / "whole", tmp_path / "ranks", atol=1e-4)
