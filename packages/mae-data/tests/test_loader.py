import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import zlib  # noqa: F401  (before Paddle 2.6, which brings its own)
from pathlib import Path

import numpy as np
import paddle
import pytest
from until import until

from mae_data.errors import DataError
from mae_data.loading import worker_pool
from mae_data.loading.dataset import ListDataset
from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import EvalBatchSampler, TrainBatchSampler
from mae_data.sources.source import TargetType
from mae_data.transforms.pipelines import make_pretrain_transform

both_ways = pytest.mark.parametrize("num_workers", [0, 2])
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc (Linux)")
PROGRAM = Path(__file__).with_name("loader_program.py")


def make_dataset(root, **options):
    return ListDataset(root, "train_list.txt", make_pretrain_transform(image_size=8), seed=1, **options)


class Odd:
    """A data set that misbehaves at one sample."""

    def __init__(self, act, at=13):
        self.act = act
        self.at = at

    def __getitem__(self, key):
        if key[1] == self.at:
            self.act()
        return np.full((2, 2, 1), key[1], np.uint8), np.int64(0), np.int64(key[1])


def no_workers_left():
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not multiprocessing.active_children()


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_batches_are_those_of_the_sampler_in_order(image_root, num_workers):
    dataset = make_dataset(image_root)
    sampler = TrainBatchSampler(20, 3, seed=5, num_steps=14)
    loader = make_loader(dataset, sampler, num_workers=num_workers)
    assert len(loader) == 14
    got = list(loader)
    assert len(got) == 14
    for keys, (images, labels, indices) in zip(sampler, got, strict=True):
        samples = [dataset[key] for key in keys]
        np.testing.assert_array_equal(images.numpy(), np.stack([sample[0] for sample in samples]))
        assert labels.tolist() == [sample[1] for sample in samples]
        assert indices.tolist() == [index for _, index in keys]
        assert (images.dtype, labels.dtype, indices.dtype) == (paddle.uint8, paddle.int64, paddle.int64)
    assert no_workers_left()


@both_ways
@pytest.mark.parametrize(("dtype", "value_range"), [("uint16", 65535), ("float32", [0.0, 1e5])])
def test_other_types_arrive_bit_by_bit(tmp_path, num_workers, dtype, value_range):
    tiles = np.random.default_rng(0).integers(0, 65536, (5, 9, 9, 5)).astype(dtype)
    for i, tile in enumerate(tiles):
        np.save(tmp_path / f"{i}.npy", tile)
    (tmp_path / "train_list.txt").write_text("".join(f"{i}.npy 0\n" for i in range(5)))
    dataset = make_dataset(tmp_path, channels=5, value_range=value_range)
    sampler = EvalBatchSampler(5, 2)
    for keys, (images, _, _) in zip(sampler, make_loader(dataset, sampler, num_workers=num_workers), strict=True):
        expected = np.stack([dataset[key][0] for key in keys])
        assert expected.dtype == dtype
        got = images.numpy()
        np.testing.assert_array_equal(got.view(np.uint16) if dtype == "uint16" else got, expected)


@both_ways
def test_short_last_batch_and_second_pass(image_root, num_workers):
    sampler = EvalBatchSampler(20, 8, rank=1, world_size=2)
    loader = make_loader(make_dataset(image_root), sampler, num_workers=num_workers)
    for _ in range(2):
        assert [batch[2].tolist() for batch in loader] == [[1, 3, 5, 7, 9, 11, 13, 15], [17, 19]]


@both_ways
def test_no_batches_at_all(image_root, num_workers):
    sampler = EvalBatchSampler(1, 8, rank=1, world_size=2)
    assert list(make_loader(make_dataset(image_root), sampler, num_workers=num_workers)) == []


@both_ways
def test_a_bad_image_is_named(image_root, num_workers):
    (image_root / "13.png").write_bytes(b"")
    loader = make_loader(make_dataset(image_root), EvalBatchSampler(20, 4), num_workers=num_workers)
    batches = iter(loader)
    assert [next(batches)[2].tolist()[0] for _ in range(3)] == [0, 4, 8]
    with pytest.raises(DataError, match=r"train_list\.txt:14 \(13\.png\): not an image"):
        next(batches)
    assert no_workers_left()


def test_other_exceptions_of_a_worker_come_with_their_traceback():
    loader = make_loader(Odd(lambda: 1 / 0), EvalBatchSampler(20, 4), num_workers=2)
    with pytest.raises(RuntimeError, match=r"(?s)loader worker failed.*__getitem__.*ZeroDivisionError"):
        list(loader)
    assert no_workers_left()


def ended(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


@needs_proc
@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_worker_is_named(busy):
    """While the main process waits for a batch, and while it computes."""
    loader = make_loader(Odd(lambda: os.kill(os.getpid(), signal.SIGKILL)), EvalBatchSampler(200, 4), num_workers=2)
    batches = iter(loader)
    next(batches)
    pids = [worker.pid for worker in multiprocessing.active_children()]
    if busy:
        until(lambda: any(ended(pid) for pid in pids))  # SystemError would strike here
    start = time.monotonic()
    with pytest.raises(DataError, match=rf"worker \d \(pid ({'|'.join(map(str, pids))})\) was killed by SIGKILL"):
        list(batches)
    assert time.monotonic() - start < 15
    assert no_workers_left()


def test_a_worker_that_exits_is_named():
    loader = make_loader(Odd(lambda: os._exit(3)), EvalBatchSampler(40, 4), num_workers=2)
    with pytest.raises(DataError, match=r"worker 1 \(pid \d+\) ended with exit code 3"):
        list(loader)


def test_a_hung_worker_is_reported_after_the_timeout(image_root, monkeypatch):
    dataset = make_dataset(image_root)
    monkeypatch.setattr(dataset, "transform", lambda image, rng: time.sleep(60))
    loader = make_loader(dataset, EvalBatchSampler(20, 4), num_workers=2, timeout=1, advice="raise TIME")
    start = time.monotonic()
    place = r"it is at .*train_list\.txt:1 \(00\.png\)"
    with pytest.raises(DataError, match=rf"worker 0 \(pid \d+\) gave no batch for 1 seconds; {place}; raise TIME"):
        list(loader)
    assert time.monotonic() - start < 10
    assert no_workers_left()


def stop_workers(count):
    for worker in multiprocessing.active_children()[:count]:
        os.kill(worker.pid, signal.SIGSTOP)


@needs_proc
@pytest.mark.parametrize("count", [1, 2])
def test_stopped_workers_are_reported_after_the_timeout(count):
    batches = iter(make_loader(Odd(lambda: None), EvalBatchSampler(400, 4), num_workers=2, timeout=1))
    next(batches)
    stop_workers(count)
    with pytest.raises(DataError, match=r"worker \d .* gave no batch for [12] seconds \(it is stopped\); it is at"):
        list(batches)
    assert no_workers_left()


def test_signal_handlers_run_while_all_workers_are_stopped():
    """What a handler raises reaches the loop at once: a run can save and end."""

    def on_alarm(number, frame):
        raise TimeoutError("the run is asked to stop")

    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        batches = iter(make_loader(Odd(lambda: None), EvalBatchSampler(400, 4), num_workers=2, timeout=0))
        next(batches)
        stop_workers(2)
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(TimeoutError, match="asked to stop"):
            list(batches)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 5
    assert no_workers_left()


def test_a_long_wait_is_warned_of_and_may_last(monkeypatch, caplog):
    monkeypatch.setattr(worker_pool, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(worker_pool, "WARN_SECONDS", 0.3)
    loader = make_loader(Odd(lambda: time.sleep(1.2)), EvalBatchSampler(40, 4), num_workers=1, timeout=0)
    assert len(list(loader)) == 10
    assert 2 <= len(caplog.records) <= 4
    assert "loader worker 0" in caplog.text
    assert "it is at (0, 13)" in caplog.text


def test_time_between_batches_is_not_waiting():
    loader = make_loader(Odd(lambda: None), EvalBatchSampler(8, 4), num_workers=2, timeout=0.5)
    for _ in loader:
        time.sleep(1.2)


@pytest.mark.parametrize("finished", [True, False])
def test_workers_leave_garbage_of_an_earlier_loader_alone(finished, capfd):
    """To collect it in a worker would join the main process's threads: the worker would hang or abort."""
    gc.disable()
    try:
        earlier = iter(make_loader(Odd(lambda: None), EvalBatchSampler(400, 4), num_workers=2))
        next(earlier)
        ring = [earlier]
        ring.append(ring)
        if finished:
            earlier.close()
        del earlier, ring
        loader = make_loader(Odd(gc.collect), EvalBatchSampler(40, 4), num_workers=2, timeout=5)
        assert len(list(loader)) == 10
    finally:
        gc.enable()
        gc.collect()
    assert no_workers_left()
    assert "Traceback" not in capfd.readouterr().err


def open_files():
    return len(os.listdir("/proc/self/fd"))


@needs_proc
def test_an_iteration_gives_all_back_without_the_garbage_collector():
    files = open_files()
    gc.disable()
    try:
        batches = iter(make_loader(Odd(lambda: None), EvalBatchSampler(400, 4), num_workers=2))
        next(batches)
        assert open_files() > files
        del batches
        assert open_files() == files
        assert no_workers_left()
    finally:
        gc.enable()


class Growing:
    """A data set whose images are larger in later batches."""

    def __getitem__(self, key):
        side = 8 * 4 ** (key[1] // 4)
        return np.full((side, side, 3), key[1], np.uint8), np.int64(0), np.int64(key[1])


def test_batches_may_grow_and_stay_what_they_are():
    """A batch is not changed by those that are read into the same memory later."""
    batches = list(make_loader(Growing(), EvalBatchSampler(20, 4), num_workers=1, prefetch=1))
    for number, (images, _, indices) in enumerate(batches):
        assert images.shape == [4, 8 * 4**number, 8 * 4**number, 3]
        for image, index in zip(images.numpy(), indices.tolist(), strict=True):
            assert (image == index).all()


class WithTargets:
    """A data set with another target than a class: an image's own pixels, shifted."""

    def __init__(self, shape, dtype):
        self.target_type = TargetType(shape, dtype)

    def __getitem__(self, key):
        image = np.full((3, 5, 3), key[1], np.uint8)
        return image, np.full(self.target_type.shape, key[1] + 0.5).astype(self.target_type.dtype), np.int64(key[1])


@both_ways
@pytest.mark.parametrize(("shape", "dtype"), [((3, 5), "uint8"), ((7,), "float32"), ((2,), "int64")])
def test_targets_of_any_shape_arrive_with_their_images(num_workers, shape, dtype):
    loader = make_loader(WithTargets(shape, dtype), EvalBatchSampler(11, 4), num_workers=num_workers)
    for images, targets, indices in loader:
        assert targets.shape == [len(indices), *shape]
        assert targets.numpy().dtype == dtype
        for image, target, index in zip(images.numpy(), targets.numpy(), indices.tolist(), strict=True):
            assert (image == index).all()
            assert (target == np.array(index + 0.5).astype(dtype)).all()


def test_images_of_different_sizes_are_no_batch():
    with pytest.raises(
        RuntimeError, match=r"one shape and type, but this dataset gave \(8, 8, 3\) uint8 and \(32, 32, 3\) uint8"
    ):
        list(make_loader(Growing(), EvalBatchSampler(20, 8), num_workers=1))


def used_memory():
    """Resident and shared memory of this process and its workers, in MB."""
    pids = [os.getpid(), *(worker.pid for worker in multiprocessing.active_children())]
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * 4096 / 2**20


class Large:
    """A data set of images of a megabyte each."""

    def __getitem__(self, key):
        return np.full((1024, 1024, 1), key[1], np.uint8), np.int64(0), np.int64(key[1])


@needs_proc
def test_memory_is_steady():
    seen = []
    for number, _ in enumerate(make_loader(Large(), TrainBatchSampler(64, 8, seed=0, num_steps=60), num_workers=2)):
        if number % 10 == 9:
            seen.append(used_memory())
    assert max(seen[2:]) - seen[1] < 16, seen  # all 60 batches have 480 MB


def test_workers_leave_signals_to_the_main_process():
    batches = iter(make_loader(Odd(lambda: None), EvalBatchSampler(80, 4), num_workers=2))
    next(batches)
    for worker in multiprocessing.active_children():  # one of them may have just started
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(worker.pid, number)
    assert len(list(batches)) == 19
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}


def test_workers_are_not_in_the_group_of_the_terminal():
    batches = iter(make_loader(Odd(lambda: None), EvalBatchSampler(80, 4), num_workers=2))
    for _ in range(4):  # both have been at work
        next(batches)
    workers = multiprocessing.active_children()
    assert [os.getpgid(worker.pid) for worker in workers] == [worker.pid for worker in workers]


@pytest.fixture
def program():
    """Start loader_program.py in its own process group; give the process and its workers' ids."""
    started = []

    def start(mode):
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), mode],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2, process.stderr.read()
        process.stdout.readline()
        return process, workers

    yield start
    for process in started:
        process.kill()
        process.communicate()


def gone_within(pids, seconds):
    """Wait until none of the processes runs (one that ended but was not collected does not run)."""

    def runs(pid):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in "ZX"

    deadline = time.monotonic() + seconds
    while any(map(runs, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@needs_proc
def test_workers_die_with_a_killed_parent(program):
    """Even those that are in the middle of a read, which no closed pipe would tell."""
    process, workers = program("stuck")
    for _ in range(15):  # an epoch has 16 batches, and one is read
        assert process.stdout.readline() == "batch\n"
    time.sleep(0.5)
    assert not gone_within(workers, 0)
    process.kill()
    assert gone_within(workers, 10)


@needs_proc
@pytest.mark.parametrize("everyone", [False, True], ids=["group", "every-process"])
def test_sigterm_lets_the_main_process_end_in_order(program, everyone):
    process, workers = program("run")
    for pid in workers if everyone else []:
        os.kill(pid, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=10)
    assert output.splitlines()[-1] == "stopping"
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert gone_within(workers, 5)


@needs_proc
@pytest.mark.parametrize(("mode", "code"), [("fail", 1), ("exit", 7)])
def test_ending_in_the_loop_leaves_nothing_behind(program, mode, code):
    process, workers = program(mode)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == code
    assert errors.count("Traceback") == (mode == "fail")
    assert gone_within(workers, 5)


@pytest.mark.parametrize("options", [{"num_workers": -1}, {"prefetch": 0}, {"timeout": -1}])
def test_wrong_arguments_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make_loader(Odd(lambda: None), EvalBatchSampler(4, 4), **options)
