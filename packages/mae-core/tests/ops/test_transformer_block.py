"""The fused transformer block against the composition in float64: values, every gradient, and when it steps aside."""

import os
import subprocess
import sys

import numpy as np
import paddle
import pytest

from mae_core.errors import ConfigError
from mae_core.models.transformer import Block
from mae_core.ops import fused, transformer_block

pytestmark = pytest.mark.skipif(
    not fused.gemm_library(), reason=f"no fused operators or no matrix products: {fused.why_not()}"
)

# samples, tokens, dimension, heads, first, qkv bias, stochastic depth
CASES = [
    (2, 5, 24, 3, 0, True, 0.0),  # heads of 8
    (3, 1, 16, 1, 0, False, 0.0),
    (1, 17, 128, 4, 0, True, 0.0),
    (2, 70, 128, 1, 3, False, 0.0),  # a head of 128, more tokens than are done at a time
    (2, 130, 40, 2, 129, True, 0.0),  # heads of 20, the last token only
    (6, 50, 96, 3, 0, True, 0.5),
    (5, 9, 64, 4, 4, True, 0.3),
]


def make_pair(dim, heads, qkv_bias, drop_path):
    """Make a block of float32 and its copy of float64, which never runs fused."""
    paddle.seed(0)
    block, exact = (Block(dim, heads, qkv_bias=qkv_bias, drop_path=drop_path) for _ in range(2))
    for parameter in block.parameters():
        if parameter.ndim == 1:
            parameter.set_value(parameter + 0.3 * paddle.randn(parameter.shape))
    exact.set_state_dict(block.state_dict())
    return block, exact.to(dtype="float64")


def make_input(n, length, dim, dtype="float32"):
    x = np.random.default_rng(1).standard_normal((n, length, dim)).astype("float32")
    return paddle.to_tensor(x.astype(dtype), stop_gradient=False)


def run(block, x, first, seed=5):
    """Return the result and the gradients of x and of all parameters, by name."""
    paddle.seed(seed)
    out = block(x, first)
    weight = np.random.default_rng(2).standard_normal(out.shape).astype("float32")
    (out * paddle.to_tensor(weight).astype(out.dtype)).sum().backward()
    gradients = {name: p.grad.numpy() for name, p in block.named_parameters() if p.grad is not None}
    return {"out": out.numpy(), "x": x.grad.numpy(), **gradients}


def forget_gradients(block):
    for parameter in block.parameters():
        parameter.clear_gradient(False)  # None afterwards, not zeros


def assert_close(results, expected, tolerance=2e-6):
    assert results.keys() == expected.keys()
    for name, value in expected.items():
        # The true gradient of key biases is zero, and so is that of queries and keys where there is one token.
        limit = tolerance * max(np.abs(value).max(), 1.0)
        assert np.abs(results[name] - value).max() <= limit, name


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_match_float64(case):
    n, length, dim, heads, first, qkv_bias, drop_path = case
    block, exact = make_pair(dim, heads, qkv_bias, drop_path)
    x = make_input(n, length, dim)
    assert block._is_stock()
    assert transformer_block.is_fused(x)
    assert_close(run(block, x, first), run(exact, make_input(n, length, dim, "float64"), first))


def test_stochastic_depth_draws_what_the_composition_draws(monkeypatch):
    block, _ = make_pair(32, 2, True, 0.5)
    results = {}
    for ops in ("fused", "reference"):
        monkeypatch.setenv("MAE_CORE_OPS", ops)
        results[ops] = run(block, make_input(8, 6, 32), 0)
        forget_gradients(block)
    assert_close(results["fused"], results["reference"])
    same = (results["fused"]["out"] == make_input(8, 6, 32).numpy()).all(axis=(1, 2))
    assert same.any()  # both branches of a sample were dropped
    block.eval()
    np.testing.assert_array_equal(block(make_input(8, 6, 32)).numpy(), block(make_input(8, 6, 32)).numpy())


def test_without_gradients_the_result_has_the_same_bits():
    block, _ = make_pair(48, 3, True, 0.0)
    x = make_input(2, 20, 48)
    kept = block(x, 4).numpy()
    with paddle.no_grad():
        np.testing.assert_array_equal(block(x, 4).numpy(), kept)


def test_large_scores_and_activations_neither_overflow_nor_leak():
    block, exact = make_pair(16, 1, True, 0.0)
    for layer in (block, exact):
        layer.attn.qkv.weight.set_value(layer.attn.qkv.weight * 60.0)
        layer.mlp.fc1.weight.set_value(layer.mlp.fc1.weight * 60.0)
    results, expected = (
        layer(make_input(2, 40, 16, dtype)).numpy() for layer, dtype in ((block, "float32"), (exact, "float64"))
    )
    np.testing.assert_allclose(results, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "frozen", ["norm1.weight", "attn.qkv.weight", "mlp.fc1", "attn.proj.bias", "x", "all but mlp.fc2.bias"]
)
def test_what_is_frozen_gets_no_gradient_and_the_rest_keeps_its_own(frozen):
    block, _ = make_pair(32, 2, True, 0.0)
    expected = run(block, make_input(2, 7, 32), 0)
    forget_gradients(block)
    x = make_input(2, 7, 32)
    x.stop_gradient = frozen in ("x", "all but mlp.fc2.bias")
    for name, parameter in block.named_parameters():
        is_last = name == "mlp.fc2.bias"
        parameter.stop_gradient = not is_last if frozen.startswith("all") else name.startswith(frozen)
    (
        block(x) * paddle.to_tensor(np.random.default_rng(2).standard_normal((2, 7, 32)).astype("float32"))
    ).sum().backward()
    for name, parameter in [*block.named_parameters(), ("x", x)]:
        if parameter.stop_gradient:
            assert parameter.grad is None, name
        else:
            np.testing.assert_array_equal(parameter.grad.numpy(), expected[name], err_msg=name)


def test_a_second_derivative_is_refused_by_name():
    block, _ = make_pair(16, 2, True, 0.0)
    x = make_input(1, 4, 16)
    with pytest.raises(Exception, match="MAE_CORE_OPS=reference for create_graph=True"):
        paddle.grad(block(x).sum(), x, create_graph=True)


def test_a_hook_or_another_layer_inside_is_called():
    block, _ = make_pair(16, 2, True, 0.0)
    seen = []
    hook = block.attn.qkv.register_forward_post_hook(lambda layer, given, out: seen.append(out.shape))
    block(make_input(1, 4, 16))
    assert seen == [[1, 4, 48]]
    hook.remove()
    block.mlp = paddle.nn.Identity()
    block(make_input(1, 4, 16))


@pytest.mark.parametrize("full_graph", [True] if paddle.__version__.startswith("2.") else [True, False])
def test_a_static_graph_takes_the_composition(full_graph):
    block, _ = make_pair(16, 2, True, 0.0)
    expected = run(block, make_input(2, 4, 16), 0)
    forget_gradients(block)
    static = paddle.jit.to_static(block, full_graph=full_graph)
    assert_close(run(static, make_input(2, 4, 16), 0), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "heads divide D"),
        ({"first": 4}, "first is below L"),
        ({"has_qkv_bias": False}, "number of weights"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    block, _ = make_pair(16, 2, True, 0.0)
    attrs = {"heads": 2, "first": 0, "epsilon": 1e-6, "has_qkv_bias": True, "has_scales": False, **change}
    with pytest.raises(Exception, match=message):
        fused.call("mae_block", {"x": make_input(1, 4, 16), "tensors": block.parameters()}, attrs)


def test_without_a_library_for_products_auto_steps_aside_and_fused_says_why(monkeypatch):
    monkeypatch.setattr(fused, "gemm_library", lambda: None)
    assert not transformer_block.is_fused(make_input(1, 4, 16))
    assert "neither MKL nor oneDNN" in fused.summary()
    monkeypatch.setenv("MAE_CORE_OPS", "fused")
    with pytest.raises(ConfigError, match="neither MKL nor oneDNN; use auto or reference"):
        transformer_block.is_fused(make_input(1, 4, 16))


PRINT_RESULTS = """
import sys, numpy as np, mae_core
sys.path.insert(0, sys.argv[1])
import test_transformer_block as test
block, _ = test.make_pair(40, 2, True, 0.0)
np.savez(sys.argv[2], **test.run(block, test.make_input(3, 37, 40), 5))
"""


@pytest.mark.parametrize(("level", "threads"), [("base", 1), ("avx2", 3)])
def test_other_instruction_sets_and_thread_counts_agree(level, threads, tmp_path):
    env = {**os.environ, "MAE_CORE_CPU_LEVEL": level, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", PRINT_RESULTS, os.path.dirname(__file__), str(tmp_path / "results.npz")]
    subprocess.run(command, check=True, env=env, capture_output=True)
    block, _ = make_pair(40, 2, True, 0.0)
    assert_close(dict(np.load(tmp_path / "results.npz")), run(block, make_input(3, 37, 40), 5))


@pytest.mark.parametrize("before", ["", "paddle.matmul(paddle.ones([64, 64]), paddle.ones([64, 64]))"])
def test_what_was_computed_before_does_not_choose_the_library(before):
    """Paddle loads MKL for its first product; from then on both would be there."""
    code = f"import mae_core; mae_core.build_model\nimport paddle\nfrom mae_core.ops import fused\n{before}\n"
    done = subprocess.run([sys.executable, "-c", code + "print(fused.gemm_library())"], capture_output=True, text=True)
    assert done.stdout.split()[-1:] == ["oneDNN"], done.stderr
