"""Random and block-wise masking: the noise, the masks drawn from it, against the algorithms written out."""

import math

import numpy as np
import paddle
import pytest

from mae_core.ops import STRATEGIES, MaskKey, draw_masking, masking_noise, random_masking, take_rows
from mae_core.ops.masking import block_noise
from mae_core.ops.philox import philox4x32

# Random123's known answers for philox4x32-10: counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_known_answers(counter, key, result):
    words = philox4x32(np.array(counter, dtype=np.uint64), key)
    assert tuple(int(w) for w in words) == result


def test_noise_of_one_sample_by_hand():
    seed, epoch, index = 5 + (7 << 32), 3, 11 + (2 << 32)
    noise = masking_noise(seed, epoch, [index], 6)[0]
    blocks = [philox4x32(np.array([b, 11, 2, 3], dtype=np.uint64), (5, 7)) for b in (0, 1)]
    expected = (np.concatenate(blocks)[:6].astype(np.int64) >> 8) / 2**24
    np.testing.assert_array_equal(noise, expected.astype(np.float32))


def test_noise_depends_on_the_sample_and_not_on_its_batch():
    alone = np.concatenate([masking_noise(1, 2, [i], 49) for i in (7, 3, 9)])
    np.testing.assert_array_equal(masking_noise(1, 2, [7, 3, 9], 49), alone)
    for other in (masking_noise(2, 2, [7], 49), masking_noise(1, 3, [7], 49), masking_noise(1, 2, [8], 49)):
        assert not np.array_equal(other[0], alone[0])


@pytest.mark.parametrize("length", [1, 2, 31, 33, 196, 1024])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.75])
def test_parts_agree_with_numpy(length, ratio):
    keep = int(length * (1 - ratio))
    noise = np.random.default_rng(length).random((5, length), dtype="float32")
    if keep < 1:
        with pytest.raises(ValueError, match="leaves none"):
            draw_masking(paddle.to_tensor(noise), ratio)
        return
    m = draw_masking(paddle.to_tensor(noise), ratio)
    order = np.argsort(noise, axis=1, kind="stable")
    np.testing.assert_array_equal(m.ids_keep.numpy(), order[:, :keep])
    np.testing.assert_array_equal(m.ids_remove.numpy().reshape(5, -1), order[:, keep:])
    np.testing.assert_array_equal(m.ids_restore.numpy(), np.argsort(order, axis=1))
    mask = np.ones_like(noise)
    np.put_along_axis(mask, order[:, :keep], 0, axis=1)
    np.testing.assert_array_equal(m.mask.numpy(), mask)


@pytest.mark.parametrize("levels", [1, 2, 7])
def test_ties_go_to_the_smaller_patch_number(levels):
    noise = np.random.default_rng(0).integers(0, levels, (4, 200)).astype("float32")
    m = draw_masking(paddle.to_tensor(noise), 0.5)
    order = np.concatenate([m.ids_keep.numpy(), m.ids_remove.numpy()], axis=1)
    np.testing.assert_array_equal(order, np.argsort(noise, axis=1, kind="stable"))


def test_masks_are_uniform_over_patches_and_independent_between_samples():
    n, length = 4000, 64
    masks = draw_masking(paddle.to_tensor(masking_noise(0, 0, np.arange(n), length)), 0.75).mask.numpy()
    assert (masks.sum(axis=1) == 48).all()
    kept = (1 - masks).sum(axis=0)
    # Each patch is kept in a quarter of samples; the counts' variance is that of drawing without replacement.
    chi_square = ((kept - n / 4) ** 2 / (n * 0.25 * 0.75)).sum() * (length - 1) / length
    assert 30 < chi_square < 110  # 63 degrees of freedom: mean 63, standard deviation 11
    overlap = ((1 - masks[:-1]) * (1 - masks[1:])).sum(axis=1).mean()  # expected 16 * 16 / 64
    assert abs(overlap - 4.0) < 0.1


def test_own_mask_keeps_image_order():
    visible, m = random_masking(
        paddle.arange(8).reshape([2, 4, 1]).astype("float32"), mask=paddle.to_tensor([[1, 0, 1, 0], [0, 0, 1, 1]])
    )
    assert visible.flatten().tolist() == [1, 3, 4, 5]
    assert m.ids_keep.tolist() == [[1, 3], [0, 1]]
    assert m.ids_remove.tolist() == [[0, 2], [2, 3]]


@pytest.mark.parametrize("noise", [paddle.zeros([3]), paddle.zeros([2, 0])])
def test_noise_of_the_wrong_shape_is_refused(noise):
    with pytest.raises(ValueError, match="noise has shape"):
        draw_masking(noise)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_take_rows_copies_exactly(dtype):
    x = np.random.default_rng(0).integers(0, 200, (3, 9, 5)).astype(dtype)
    ids = np.random.default_rng(1).integers(0, 9, (3, 4))
    taken = take_rows(paddle.to_tensor(x), paddle.to_tensor(ids)).numpy()
    np.testing.assert_array_equal(taken, np.take_along_axis(x, ids[:, :, None], axis=1))


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
