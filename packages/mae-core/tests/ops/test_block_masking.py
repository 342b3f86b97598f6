"""Block-wise masks against Algorithm 1 written out patch by patch: exact counts, reproducible, in blocks."""

import math

import numpy as np
import paddle
import pytest

from mae_core.ops import STRATEGIES, MaskKey, draw_masking, random_masking
from mae_core.ops.masking import block_noise
from mae_core.ops.philox import philox4x32

GRIDS = [(14, 14), (8, 8), (4, 6), (1, 9), (3, 20)]
SAMPLES = [0, 5, 2**33 + 7]


def removed_by_loops(seed, epoch, index, grid, wanted):
    """Return the patches that Algorithm 1 removes, the last block cut short, by sets and scalars."""
    height, width = grid
    removed, block = [], 0
    while len(removed) < wanted:
        counter = np.array([2**31 + block, index % 2**32, index >> 32, epoch], dtype=np.uint64)
        area, aspect, top, left = (
            int(word) / 2**32 for word in philox4x32(counter, (seed % 2**32, seed >> 32)).tolist()
        )
        least = max(1, min(16, height * width // 12))
        size = least + area * (max(wanted - len(removed), least) - least)
        ratio = math.exp(math.log(0.3) + aspect * (math.log(1 / 0.3) - math.log(0.3)))
        rows = min(height, max(1, round(math.sqrt(size * ratio))))
        columns = min(width, max(1, round(math.sqrt(size / ratio))))
        first_row, first_column = int(top * (height - rows + 1)), int(left * (width - columns + 1))
        for row in range(first_row, first_row + rows):
            for column in range(first_column, first_column + columns):
                patch = row * width + column
                if patch not in removed and len(removed) < wanted:
                    removed.append(patch)
        block += 1
    return removed


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [0.4, 0.75, 0.9])
def test_the_mask_is_the_one_of_the_loops(grid, ratio):
    seed, epoch, length = 5 + (7 << 32), 3, grid[0] * grid[1]
    keep = int(length * (1 - ratio))
    if keep < 1:
        pytest.skip("no patch stays")
    noise = block_noise(seed, epoch, SAMPLES, grid, length - keep)
    assert noise.dtype == np.float32
    masking = draw_masking(paddle.to_tensor(noise), ratio)
    for row, index in enumerate(SAMPLES):
        expected = removed_by_loops(seed, epoch, index, grid, length - keep)
        assert set(np.flatnonzero(masking.mask.numpy()[row])) == set(expected)
        assert masking.ids_remove.numpy()[row].tolist() == expected[::-1]  # the first removed has the largest noise
        assert masking.ids_keep.numpy()[row].tolist() == sorted(set(range(length)) - set(expected), key=lambda p: (
            noise[row][p], p))  # fmt: skip


def test_every_sample_removes_exactly_as_many_and_no_count_needs_the_bound():
    for grid in GRIDS:
        length = grid[0] * grid[1]
        for removed in {1, length // 2, length - 1}:
            noise = block_noise(1, 2, np.arange(300), grid, removed)
            assert ((noise > 0).sum(axis=1) >= removed).all()  # blocks cover enough; argsort cuts the last short
            kept = np.argsort(noise, axis=1, kind="stable")[:, : length - removed]
            assert (np.diff(np.sort(kept)) > 0).all()


def test_a_mask_depends_on_seed_epoch_and_sample_and_not_on_its_batch():
    together = block_noise(1, 2, [7, 3, 9], (14, 14), 147)
    np.testing.assert_array_equal(np.concatenate([block_noise(1, 2, [i], (14, 14), 147) for i in (7, 3, 9)]), together)
    for other in (block_noise(2, 2, [7], (14, 14), 147), block_noise(1, 3, [7], (14, 14), 147), together[1:2]):
        assert not np.array_equal(other[0], together[0])


def test_blocks_have_few_borders_and_every_patch_its_turn():
    removed = 98

    def borders(noise):
        order = np.argsort(noise, axis=1, kind="stable")
        mask = np.zeros_like(noise)
        np.put_along_axis(mask, order[:, -removed:], 1, axis=1)
        image = mask.reshape(-1, 14, 14)
        edges = (image[:, 1:] != image[:, :-1]).sum() + (image[:, :, 1:] != image[:, :, :-1]).sum()
        return edges / len(noise), mask.mean(axis=0)

    in_blocks, share = borders(block_noise(0, 0, np.arange(500), (14, 14), removed))
    at_random, _ = borders(np.random.default_rng(0).random((500, 196)))
    assert at_random == pytest.approx(2 * 14 * 13 / 2, rel=0.05)  # half of all neighbours differ
    assert in_blocks < 0.4 * at_random
    assert 0.02 < share.min() <= share.max() < 0.98  # corners are in few blocks, the centre in many


@pytest.mark.parametrize("choice", ["fused", "reference"])
def test_the_operators_take_it_as_any_noise(monkeypatch, choice):
    from mae_core.ops import fused

    if choice == "fused" and not fused.LOADED:
        pytest.skip("not built")
    monkeypatch.setenv("MAE_CORE_OPS", choice)
    key, grid = MaskKey(3, 1, paddle.to_tensor([4, 0])), (4, 6)
    noise = STRATEGIES["block"](key, grid, 0.75)
    np.testing.assert_array_equal(noise.numpy(), block_noise(3, 1, [4, 0], grid, 18))
    tokens = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 24, 5)).astype(np.float32))
    visible, masking = random_masking(tokens, 0.75, noise=noise)
    assert (masking.mask.numpy().sum(axis=1) == 18).all()
    for row in range(2):
        np.testing.assert_array_equal(visible[row].numpy(), tokens[row].numpy()[masking.ids_keep[row].numpy()])


def test_random_is_the_operators_own_draw():
    key = MaskKey(3, 1, paddle.to_tensor([4, 0]))
    assert STRATEGIES["random"](key, (4, 6), 0.75) is key
