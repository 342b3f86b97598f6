"""Products of bfloat16: rounding by bits, values and gradients against float64 and the twin, and when none happen."""

import os
import subprocess
import sys

import numpy as np
import paddle
import pytest

from mae_core.models import MaskedAutoencoderViT
from mae_core.models.transformer import Block
from mae_core.ops import MaskKey, fused, products, reference
from mae_core.ops.layers import Linear
from mae_core.training.optim import build_adamw

pytestmark = pytest.mark.skipif(
    bool(products.why_no_bfloat16()), reason=f"no products of bfloat16: {products.why_no_bfloat16()}"
)

# An operand's rounding is at most 2^-9 of it; sums of such errors stay far below the largest value.
NEAR_FLOAT64, NEAR_TWIN = 1e-2, 1e-2
# samples, tokens, dimension, heads, first, qkv bias, stochastic depth
CASES = [
    (2, 5, 24, 3, 0, True, 0.0),  # heads of 8
    (3, 1, 16, 1, 0, False, 0.0),
    (2, 71, 128, 1, 3, False, 0.0),  # a head of 128, an odd number of tokens, more than are done at a time
    (2, 130, 40, 2, 129, True, 0.0),  # heads of 20, the last token only
    (6, 50, 96, 3, 0, True, 0.5),
]


def round_by_bits(x):
    """Round float32 to the nearest bfloat16, halves to even, by integer arithmetic."""
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def difference(value, expected):
    """Return the largest difference as a share of the largest value."""
    return np.abs(value - expected).max() / max(np.abs(expected).max(), 1.0)


def test_values_are_rounded_to_nearest_and_halves_to_even():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_003, dtype=np.uint32)
    bits[:50_000] &= np.uint32(0xFFFF8000)  # halves between two
    x = bits.view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], np.float32([0.0, -0.0, np.inf, -np.inf])])
    for round_values in (products.rounded, reference.rounded):
        rounded = round_values(paddle.to_tensor(x)).astype("float32").numpy()
        np.testing.assert_array_equal(rounded.view(np.uint32), round_by_bits(x).view(np.uint32))
    assert np.isnan(products.rounded(paddle.to_tensor(np.float32([np.nan, -np.nan]))).astype("float32").numpy()).all()


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("ops", ["fused", "reference"])
def test_a_linear_layer_multiplies_rounded_operands(monkeypatch, ops, has_bias):
    monkeypatch.setenv("MAE_CORE_OPS", ops)
    rng = np.random.default_rng(1)
    x, grad = (rng.standard_normal(shape).astype("float32") for shape in ((3, 7, 37), (3, 7, 19)))
    layer = Linear(37, 19, bias=has_bias)
    given = paddle.to_tensor(x, stop_gradient=False)
    with products.in_bfloat16():
        out = layer(given)
    (out * paddle.to_tensor(grad)).sum().backward()
    weight = layer.weight.numpy()
    a, w, g = (round_by_bits(v).astype("float64") for v in (x, weight, grad))
    assert out.dtype == given.grad.dtype == layer.weight.grad.dtype == paddle.float32
    for value, expected in ((out, a @ w), (given.grad, g @ w.T), (layer.weight.grad, np.einsum("nli,nlo->io", a, g))):
        assert difference(value.numpy(), expected) < 1e-6  # but for the order of sums, these are the products
    assert difference(out.numpy(), x.astype("float64") @ weight) > 1e-5  # and not those of float32
    if has_bias:
        np.testing.assert_allclose(layer.bias.grad.numpy(), grad.sum(axis=(0, 1)), rtol=1e-5, atol=1e-5)
    with products.in_bfloat16(), paddle.no_grad():
        np.testing.assert_array_equal(layer(given).numpy(), out.numpy())


def run_block(block, case, dtype="float32", rounds=True):
    """Return the result and all gradients of a block."""
    n, length, dim, _, first, _, _ = case
    x = np.random.default_rng(1).standard_normal((n, length, dim)).astype("float32")
    x = paddle.to_tensor(x.astype(dtype), stop_gradient=False)
    paddle.seed(5)
    if rounds:
        with products.in_bfloat16():
            out = block(x, first)
    else:
        out = block(x, first)
    weight = np.random.default_rng(2).standard_normal(out.shape)
    (out * paddle.to_tensor(weight.astype(dtype))).sum().backward()  # outside: the context is remembered
    gradients = {name: p.grad.numpy() for name, p in block.named_parameters()}
    for parameter in block.parameters():
        parameter.clear_gradient(False)
    return {"out": out.numpy(), "x": x.grad.numpy(), **gradients}


def make_block(case):
    paddle.seed(0)
    _, _, dim, heads, _, qkv_bias, drop_path = case
    block = Block(dim, heads, qkv_bias=qkv_bias, drop_path=drop_path)
    for parameter in block.parameters():
        if parameter.ndim == 1:
            parameter.set_value(parameter + 0.3 * paddle.randn(parameter.shape))
    return block


@pytest.mark.parametrize("case", CASES)
def test_a_block_is_near_float64_and_its_twin(monkeypatch, case):
    block = make_block(case)
    exact = make_block(case).to(dtype="float64")
    results = run_block(block, case)
    monkeypatch.setenv("MAE_CORE_OPS", "reference")
    twin, expected = run_block(block, case), run_block(exact, case, "float64", rounds=False)
    assert results.keys() == twin.keys() == expected.keys()
    assert difference(results["out"], expected["out"]) > 1e-5  # it does round
    for name, value in expected.items():
        assert difference(results[name], value) < NEAR_FLOAT64, name
        assert difference(twin[name], value) < NEAR_FLOAT64, name
        assert difference(results[name], twin[name]) < NEAR_TWIN, name


def test_what_a_block_keeps_is_rounded_once():
    case = CASES[0]
    n, length, dim, heads, _, _, _ = case
    block, x = make_block(case), paddle.randn([n, length, dim])
    tensors = [products.rounded(p) if p.ndim == 2 else p for p in block.parameters()]
    attrs = {"heads": heads, "first": 0, "epsilon": 1e-6, "has_qkv_bias": True, "has_scales": False}
    _, qkv, attended, middle, hidden, _ = fused.call("mae_block_kept", {"x": x, "tensors": tensors}, attrs)
    assert qkv.dtype == attended.dtype == hidden.dtype == paddle.bfloat16
    with products.in_bfloat16(), paddle.no_grad():
        q, k, v = (block.attn.qkv(block.norm1(x)).reshape([n, length, 3, heads, 8])).unbind(axis=2)
        expected = block.mlp.fc1(block.norm2(middle))
    kept = qkv.astype("float32").reshape([n, heads, 3, length, 16])
    for part, values in enumerate((q, k, v)):  # [N, h, L, d], rows as wide as the kernel's vectors
        assert difference(kept[:, :, part, :, :8].numpy(), values.transpose([0, 2, 1, 3]).numpy()) < 2**-8
        assert not kept[:, :, part, :, 8:].any()
    assert difference(hidden.astype("float32").reshape(expected.shape).numpy(), expected.numpy()) < 2**-8


def test_the_twin_rounds_what_a_block_keeps_and_passes_its_gradient():
    x = paddle.to_tensor(np.random.default_rng(4).standard_normal((3, 5)).astype("float32"), stop_gradient=False)
    np.testing.assert_array_equal(products.stored(x).numpy(), x.numpy())
    with products.in_bfloat16():
        stored = products.stored(x)
    np.testing.assert_array_equal(stored.numpy(), round_by_bits(x.numpy()))
    (stored * 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full((3, 5), 3.0, "float32"))


def test_without_gradients_the_result_has_the_same_bits():
    block, x = make_block(CASES[0]), paddle.randn([2, 5, 24])
    with products.in_bfloat16():
        kept = block(x)
        with paddle.no_grad():
            np.testing.assert_array_equal(block(x).numpy(), kept.numpy())


def test_outside_the_context_and_in_other_threads_nothing_is_rounded():
    from concurrent.futures import ThreadPoolExecutor

    layer, x = Linear(32, 32), paddle.randn([4, 32])
    plain = layer(x).numpy()
    with products.in_bfloat16():
        assert not np.array_equal(layer(x).numpy(), plain)
        with ThreadPoolExecutor(1) as thread:
            np.testing.assert_array_equal(thread.submit(lambda: layer(x).numpy()).result(), plain)
    np.testing.assert_array_equal(layer(x).numpy(), plain)
    with pytest.raises(KeyError), products.in_bfloat16():
        raise KeyError
    np.testing.assert_array_equal(layer(x).numpy(), plain)


def make_model():
    paddle.seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "in_chans": 1, "embed_dim": 48, "depth": 2, "num_heads": 3}
    decoder = {"decoder_embed_dim": 32, "decoder_depth": 1, "decoder_num_heads": 2}
    return MaskedAutoencoderViT(**sizes, **decoder)


def loss_of(model):
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), dtype=np.uint8)
    return model(paddle.to_tensor(images), noise=MaskKey(0, 0, paddle.arange(4)), return_pred=False)[0]


def test_recomputed_blocks_have_the_same_bits():
    gradients = []
    for recomputes in (False, True):
        model = make_model()
        model.grad_checkpointing = recomputes
        with products.in_bfloat16():
            loss = loss_of(model)
        loss.backward()
        gradients.append([p.grad.numpy() for p in model.parameters() if p.grad is not None])
    for first, second in zip(*gradients, strict=True):
        np.testing.assert_array_equal(first, second)


def test_training_sees_every_update_and_load():
    """Rounded weights must never be those of before: a step and `set_state_dict` change no `inplace_version`."""
    model = make_model()
    optimizer = build_adamw(model)
    optimizer.set_lr(1e-2)
    with products.in_bfloat16():
        before = loss_of(model)
        before.backward()
        optimizer.step()
        after = float(loss_of(model))
        assert after != float(before)
        other = make_model()
        other.set_state_dict(model.state_dict())
        assert float(loss_of(other)) == after


def test_kept_weights_give_the_same_bits_until_they_are_dropped():
    layer, x = Linear(32, 16), paddle.randn([4, 32])
    weights = products.RoundedWeights()
    with paddle.no_grad():
        with products.in_bfloat16():
            every_time = layer(x).numpy()
        for _ in range(2):
            with products.in_bfloat16(weights):
                np.testing.assert_array_equal(layer(x).numpy(), every_time)
        layer.weight.set_value(layer.weight * 2.0)
        with products.in_bfloat16(products.RoundedWeights()):
            assert not np.array_equal(layer(x).numpy(), every_time)


def test_operators_refuse_what_does_not_fit():
    block = make_block(CASES[0])
    attrs = {"heads": 3, "first": 0, "epsilon": 1e-6, "has_qkv_bias": True, "has_scales": False}
    tensors = list(block.parameters())
    tensors[2] = products.rounded(tensors[2])  # one of four
    with pytest.raises(Exception, match="another shape or type"):
        fused.call("mae_block", {"x": paddle.randn([2, 5, 24]), "tensors": tensors}, attrs)
    a, b = products.rounded(paddle.ones([2, 3])), products.rounded(paddle.ones([4, 5]))
    with pytest.raises(Exception, match="inner sizes differ"):
        fused.call("mae_product", {"a": a, "b": b}, {"transposes_a": False, "transposes_b": False})


PRINT_RESULTS = """
import sys, numpy as np, mae_core
sys.path.insert(0, sys.argv[1])
import test_products as test
np.savez(sys.argv[2], **test.run_block(test.make_block(test.CASES[4]), test.CASES[4]))
"""


@pytest.mark.parametrize(("level", "threads"), [("base", 1), ("avx2", 3), ("avx512", 1)])
def test_other_instruction_sets_and_thread_counts_agree(level, threads, tmp_path):
    env = {**os.environ, "MAE_CORE_CPU_LEVEL": level, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", PRINT_RESULTS, os.path.dirname(__file__), str(tmp_path / "results.npz")]
    subprocess.run(command, check=True, env=env, capture_output=True)
    results, expected = np.load(tmp_path / "results.npz"), run_block(make_block(CASES[4]), CASES[4])
    for name, value in expected.items():
        assert difference(results[name], value) < NEAR_TWIN, name


def test_the_number_of_threads_changes_no_more_than_the_order_of_sums(tmp_path):
    found = []
    for threads in (1, 3):
        command = [sys.executable, "-c", PRINT_RESULTS, os.path.dirname(__file__), str(tmp_path / f"{threads}.npz")]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, check=True, env=env, capture_output=True)
        found.append(np.load(tmp_path / f"{threads}.npz"))
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=name)
