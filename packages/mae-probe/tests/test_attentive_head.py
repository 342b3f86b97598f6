"""The attentive head against efficient probing's formula written out in NumPy float64, gradients by differences."""

import math

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401
from mae_core.errors import ConfigError
from mae_probe.build import build_model
from mae_probe.config import HEADS as NAMES
from mae_probe.config import RECIPE
from mae_probe.heads import HEADS, AttentivePooling, FeatureNorm
from mae_probe.model import LinearProbe

N, L, D, M, CLASSES = 5, 7, 12, 3, 4


def pooled(tokens, queries, value):
    """The definition, a sample, a query and a token at a time: project all tokens, cut into slices, weight, sum."""
    result = np.zeros((len(tokens), D))
    for n, x in enumerate(tokens):
        values = x @ value  # [L, D]
        for j, u in enumerate(queries):
            scores = np.array([u @ token / math.sqrt(D) for token in x])
            weights = np.exp(scores) / np.exp(scores).sum()
            part = slice(j * D // M, (j + 1) * D // M)
            for weight, token_values in zip(weights, values, strict=True):
                result[n, part] += weight * token_values[part]
    return result


def loss(arrays, tokens, labels):
    """Cross-entropy behind pooling, batch norm of the batch (epsilon 1e-6) and classifier, all in float64."""
    x = pooled(tokens, arrays["pool.queries"], arrays["pool.value"])
    x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-6)
    logits = x @ arrays["1.weight"] + arrays["1.bias"]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]))


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    paddle.seed(3)
    head = HEADS["attentive"].build(paddle.nn.Linear(D, CLASSES), D, M)
    head.pool.queries.set_value(rng.normal(size=(M, D)).astype(np.float32))  # far from uniform attention
    return head, rng.normal(size=(N, L, D)).astype(np.float32), rng.integers(0, CLASSES, N)


def test_pooling_is_the_papers_formula(problem):
    head, tokens, _ = problem
    expected = pooled(tokens.astype(np.float64), *(p.numpy().astype(np.float64) for p in head.pool.parameters()))
    np.testing.assert_allclose(head.pool(paddle.to_tensor(tokens)).numpy(), expected, atol=2e-6)
    attention = head.pool.attention(paddle.to_tensor(tokens)).numpy()
    assert attention.shape == (N, M, L)
    np.testing.assert_allclose(attention.sum(axis=-1), 1, rtol=1e-6)


def test_gradients_are_those_of_finite_differences(problem):
    """Through the batch norm too: its statistics depend on what is trained."""
    head, tokens, labels = problem
    head.train()
    out = paddle.nn.functional.cross_entropy(head(paddle.to_tensor(tokens)), paddle.to_tensor(labels))
    out.backward()
    arrays = {name: p.numpy().astype(np.float64) for name, p in head.named_parameters()}
    assert set(arrays) == {"pool.queries", "pool.value", "1.weight", "1.bias"}
    exact = tokens.astype(np.float64)
    assert float(out) == pytest.approx(loss(arrays, exact, labels), rel=1e-5)
    for name, parameter in head.named_parameters():
        numeric = np.zeros_like(arrays[name])
        for place in np.ndindex(numeric.shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = arrays[name].copy()
                moved[place] += step
                values.append(loss({**arrays, name: moved}, exact, labels))
            numeric[place] = (values[0] - values[1]) / 2e-5
        np.testing.assert_allclose(parameter.grad.numpy(), numeric, atol=2e-5, err_msg=name)


def probe(**kwargs):
    return LinearProbe(img_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3, **kwargs)


def classifier(model):
    return dict(model.head.named_children())["1"]


def test_the_head_reads_the_patch_tokens_after_the_norm_and_nothing_else_is_trained():
    model = probe(head="attentive", num_queries=4)
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8))
    tokens = model.norm(model.encode(model.normalize(model.patchify(images))))[:, 1:]
    np.testing.assert_array_equal(model.head_inputs(images).numpy(), tokens.numpy())
    model.train()
    assert not any(block.training for block in model.blocks)
    logits = model(images)
    logits.square().sum().backward()
    trained = {"head.pool.queries", "head.pool.value", "head.1.weight", "head.1.bias"}
    assert {n for n, p in model.named_parameters() if p.grad is not None} == trained
    assert {n for n, p in model.named_parameters() if not p.stop_gradient} == trained
    model.eval()
    np.testing.assert_allclose(model(model.head_inputs(images)).numpy(), model(images).numpy(), atol=1e-6)


def test_a_base_model_trains_as_many_numbers_as_published():
    pairs = ["MODEL.HEAD", "attentive", "MODEL.ENCODER.DEPTH", "1", "MODEL.PRETRAINED", "None"]
    model = build_model(RECIPE.load("vit_base_patch16_224_linearprobe", {}, pairs))
    trained = sum(int(p.size) for p in model.parameters() if not p.stop_gradient)
    assert trained == 32 * 768 + 768 * 768 + 769_000  # "fewer than 1.4 million"
    assert classifier(model).weight.numpy().std() == pytest.approx(0.01, rel=0.01)


def test_both_heads_classify_alike_and_the_config_names_them_all():
    """The classifier is drawn before what a head adds, so it begins the same."""
    models = []
    for name in HEADS:
        paddle.seed(1)
        models.append(probe(head=name, num_queries=4))
    for model in models:
        assert isinstance(dict(model.head.named_children())["0"], FeatureNorm)
        np.testing.assert_array_equal(classifier(model).weight.numpy(), classifier(models[0]).weight.numpy())
    assert set(HEADS) == set(NAMES)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["MODEL.HEAD", "mlp"], "'linear', 'attentive'"),
        (["MODEL.HEAD", "attentive", "MODEL.NUM_QUERIES", "100"], r"NUM_QUERIES=100 does not divide.*=768"),
        (["MODEL.HEAD", "attentive", "MODEL.GLOBAL_POOL", "True"], "set MODEL.GLOBAL_POOL False"),
        (["MODEL.NUM_QUERIES", "0"], "not positive"),
    ],
)
def test_contradictions_are_refused(pairs, words):
    with pytest.raises(ConfigError, match=words):
        RECIPE.load(None, {}, pairs)
    with pytest.raises(ValueError, match="divisor"):
        AttentivePooling(10, 4)
    with pytest.raises(ValueError, match="global_pool"):
        probe(head="attentive", num_queries=4, global_pool=True)
