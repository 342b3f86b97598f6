"""Segmentation by nearest patches against plain loops in float64."""

import numpy as np
import pytest

from mae_core.errors import UserError
from mae_probe.segmentation.patch_knn import PatchMemory, class_shares


def test_shares_are_counted_pixel_by_pixel():
    mask = np.random.default_rng(0).choice([0, 1, 2, 255], (8, 12)).astype(np.uint8)
    mask[:4, :4] = 255
    shares = class_shares(mask, (2, 3), 3, 255)
    for number in range(6):
        row, column = divmod(number, 3)
        pixels = mask[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].ravel()
        scored = pixels[pixels != 255]
        expected = [np.mean(scored == c) if scored.size else 0 for c in range(3)]
        np.testing.assert_allclose(shares[number], expected, rtol=1e-6)
    assert not shares[0].any()


def memory_of(images, size):
    rng, memory = np.random.default_rng(1), PatchMemory(images, size, seed=3)
    given = []
    for _ in range(images):
        features = rng.standard_normal((20, 8)).astype(np.float32)
        shares = rng.dirichlet(np.ones(4), 20).astype(np.float32)
        shares[::5] = 0
        memory.add(features, shares)
        given.append((features, shares))
    memory.finish()
    return memory, given


def test_the_nearest_patches_vote_as_the_formula_says():
    memory, given = memory_of(5, 10_000)
    bank = np.concatenate([f for f, _ in given]).astype(np.float64)
    shares = np.concatenate([s for _, s in given]).astype(np.float64)
    bank, shares = bank[shares.any(axis=1)], shares[shares.any(axis=1)]
    assert memory.features.shape == bank.shape
    queries = np.random.default_rng(2).standard_normal((7, 8)).astype(np.float32)
    found = memory.classify(queries, k=6, temperature=0.1)
    for query, row in zip(queries.astype(np.float64), found, strict=True):
        cosine = bank @ query / np.linalg.norm(bank, axis=1) / np.linalg.norm(query)
        best = np.argsort(-cosine)[:6]
        weights = np.exp(cosine[best] / 0.1) / np.exp(cosine[best] / 0.1).sum()
        np.testing.assert_allclose(row, weights @ shares[best], atol=1e-5)


def test_the_memory_is_bounded_alike_for_each_image_and_drawn_by_the_seed():
    memory, _ = memory_of(5, 35)
    assert len(memory.features) == 35
    assert np.array_equal(memory.features, memory_of(5, 35)[0].features)
    np.testing.assert_allclose(np.linalg.norm(memory.features, axis=1), 1, rtol=1e-5)


def test_whitened_patches_are_compared_as_the_formula_says():
    rng = np.random.default_rng(4)
    features = (rng.standard_normal((400, 5)) @ rng.standard_normal((5, 5)) + 3).astype(np.float32)
    shares = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 400)]
    memory = PatchMemory(1, whiten=True)
    memory.add(features, shares)
    memory.finish()
    x = features.astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    project = vectors / np.sqrt(values + 1e-4 * values.mean())
    bank = (x - x.mean(axis=0)) @ project
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    queries = (features[:9] + 1).astype(np.float32)
    white = (queries - x.mean(axis=0)) @ project
    cosine = white @ bank.T / np.linalg.norm(white, axis=1, keepdims=True)
    for row, found in zip(cosine, memory.classify(queries, k=5, temperature=0.1), strict=True):
        best = np.argsort(-row)[:5]
        weights = np.exp(row[best] / 0.1) / np.exp(row[best] / 0.1).sum()
        np.testing.assert_allclose(found, weights @ shares[best], atol=1e-4)


def test_a_memory_without_a_scored_pixel_is_refused():
    memory = PatchMemory(1)
    memory.add(np.ones((4, 2), np.float32), np.zeros((4, 3), np.float32))
    with pytest.raises(UserError, match="no training mask has a pixel that counts"):
        memory.finish()
