import numpy as np
import pytest

from mae_data.errors import DataError
from mae_data.loading.sampler import EpochOrder, EvalBatchSampler, TrainBatchSampler, epoch_order
from mae_data.rng import ORDER_STREAM, philox


def batches(num_samples=50, batch_size=8, **options):
    return list(TrainBatchSampler(num_samples, batch_size, **{"seed": 3, "num_steps": 18, **options}))


def test_every_epoch_takes_every_sample_at_most_once():
    got = batches()  # 6 steps per epoch, 2 samples dropped
    assert [len(batch) for batch in got] == [8] * 18
    for epoch in range(3):
        keys = [key for batch in got[6 * epoch : 6 * epoch + 6] for key in batch]
        assert {key[0] for key in keys} == {epoch}
        indices = [key[1] for key in keys]
        assert len(set(indices)) == 48
        assert set(indices) <= set(range(50))


def test_keys_are_plain_integers():
    assert {type(part) for batch in batches() for key in batch for part in key} == {int}


def test_orders_differ_between_epochs_and_seeds():
    orders = [epoch_order(100, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(100)]}) == 5


def test_order_sorts_random_words():
    words = philox(5, ORDER_STREAM, 2).random_raw(1000)
    np.testing.assert_array_equal(words[epoch_order(1000, 5, 2)], np.sort(words))


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 17, 18, 30])
def test_resuming_at_any_step_goes_on_exactly(start):
    assert batches(start_step=start) == batches()[start:]
    assert len(TrainBatchSampler(50, 8, seed=3, start_step=start, num_steps=18)) == max(0, 18 - start)


def test_iterating_again_starts_anew():
    sampler = TrainBatchSampler(50, 8, seed=3, num_steps=7)
    assert list(sampler) == list(sampler)


def global_batches(batch_size, world_size, accum_iter):
    """Put the batches of all ranks and parts of a step together, in order."""
    options = {"world_size": world_size, "accum_iter": accum_iter}
    by_rank = [batches(100, batch_size, rank=rank, **options) for rank in range(world_size)]
    steps = []
    for step in range(18):
        parts = range(step * accum_iter, (step + 1) * accum_iter)
        steps.append([key for part in parts for rank in range(world_size) for key in by_rank[rank][part]])
    return steps


@pytest.mark.parametrize(
    ("batch_size", "world_size", "accum_iter"),
    [(12, 1, 1), (6, 2, 1), (4, 3, 1), (1, 12, 1), (6, 1, 2), (3, 2, 2), (1, 3, 4)],
)
def test_the_global_batch_is_the_same_however_it_is_cut(batch_size, world_size, accum_iter):
    assert global_batches(batch_size, world_size, accum_iter) == batches(100, 12)


def test_accumulated_batches_resume_by_step():
    whole = batches(50, 4, accum_iter=2)
    assert len(whole) == 36
    assert batches(50, 4, accum_iter=2, start_step=7) == whole[14:]
    sampler = TrainBatchSampler(50, 4, seed=3, accum_iter=2, start_step=7, num_steps=18)
    assert (len(sampler), sampler.global_batch, sampler.steps_per_epoch) == (22, 8, 6)


def test_too_few_samples_are_refused_with_the_numbers():
    with pytest.raises(DataError) as caught:
        TrainBatchSampler(63, 16, seed=0, world_size=4, num_steps=1)
    for part in ("63 images", "64", "16 x 4", "smaller batch size"):
        assert part in str(caught.value)
    assert TrainBatchSampler(64, 16, seed=0, world_size=4, num_steps=1).steps_per_epoch == 1


@pytest.mark.parametrize("num_samples", [1, 2, 9, 10, 11])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_evaluation_takes_each_sample_exactly_once(num_samples, world_size, batch_size):
    seen = []
    for rank in range(world_size):
        sampler = EvalBatchSampler(num_samples, batch_size, rank=rank, world_size=world_size)
        got = list(sampler)
        assert len(got) == len(sampler)
        assert all(1 <= len(batch) <= batch_size for batch in got)
        assert all(len(batch) == batch_size for batch in got[:-1])
        assert [key for batch in got for key in batch] == [(0, i) for i in range(rank, num_samples, world_size)]
        seen += [key for batch in got for key in batch]
    assert sorted(seen) == [(0, i) for i in range(num_samples)]


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"rank": 2, "world_size": 2}, {"rank": -1}, {"accum_iter": 0}, {"seed": -1}],
)
def test_wrong_arguments_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TrainBatchSampler(**{"num_samples": 10, "batch_size": 1, "seed": 0, "num_steps": 1, **options})


@pytest.mark.parametrize("size", [1, 2, 63, 5000])
def test_any_part_of_an_order_is_that_of_the_whole(size):
    whole, parts = epoch_order(size, 3, 5), EpochOrder(size, 3, 5)
    np.testing.assert_array_equal(parts.take(0, size), whole)
    for start in (size // 2, 0, size - 1):
        stop = min(size, start + 700)
        np.testing.assert_array_equal(parts.take(start, stop), whole[start:stop])


@pytest.mark.parametrize("repeats", [2, 4])
def test_repeats_ask_for_each_image_several_times_in_a_row(repeats):
    """Over that many epochs each image is taken once, with the crops of all these epochs."""
    keys = [key for batch in batches(48, 8, repeats=repeats, num_steps=6 * repeats) for key in batch]
    assert sorted(keys) == [(epoch, i) for epoch in range(repeats) for i in range(48)]
    for start in range(0, len(keys), repeats):
        assert keys[start : start + repeats] == [(r, keys[start][1]) for r in range(repeats)]
    later = batches(48, 8, repeats=repeats, start_step=6 * repeats, num_steps=12 * repeats)
    assert sorted(later[0][:repeats]) == [(repeats + r, later[0][0][1]) for r in range(repeats)]


def test_repeats_resume_and_are_cut_up_as_batches_without_are():
    assert batches(100, 8, repeats=2, start_step=7) == batches(100, 8, repeats=2)[7:]
    whole = batches(100, 8, repeats=2)
    by_rank = [batches(100, 4, repeats=2, world_size=2, rank=rank) for rank in range(2)]
    assert [first + second for first, second in zip(*by_rank, strict=True)] == whole
    assert batches(100, 8, repeats=1) == batches(100, 8)


@pytest.mark.parametrize("repeats", [0, 3])
def test_repeats_divide_the_batch(repeats):
    with pytest.raises(ValueError, match=f"repeats={repeats} does not divide batch_size=8"):
        TrainBatchSampler(50, 8, seed=3, repeats=repeats, num_steps=18)


def test_each_epoch_has_the_order_of_its_number():
    got = batches(48, 8, num_steps=18)
    for epoch in range(3):
        indices = [key[1] for batch in got[6 * epoch : 6 * epoch + 6] for key in batch]
        assert indices == epoch_order(48, 3, epoch).tolist()
