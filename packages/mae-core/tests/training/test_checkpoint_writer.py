"""Saves in the background: one at a time, whole or absent under SIGKILL, errors on the run's own thread."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import paddle
import pytest

import mae_core  # noqa: F401
from mae_core.errors import CheckpointError
from mae_core.training.checkpoints.checkpoint import Snapshot, save_checkpoint, sweep, take_snapshot, write_snapshot
from mae_core.training.checkpoints.writer import CheckpointWriter, host_copy
from mae_core.training.optim import build_adamw
from mae_core.weights.checkpoint_folder import list_checkpoints, newest_checkpoint, open_checkpoint
from mae_core.weights.checkpoint_state import Interval, State


def trained():
    paddle.seed(0)
    model = paddle.nn.Linear(64, 64)
    optimizer = build_adamw(model)
    optimizer.set_lr(0.1)
    step(model, optimizer)
    return model, optimizer


def step(model, optimizer):
    model(paddle.ones([2, 64])).square().sum().backward()
    optimizer.step()
    optimizer.clear_grad()


def test_a_snapshot_is_a_copy_and_gives_the_same_files_later(tmp_path):
    model, optimizer = trained()
    averages = {name: value.numpy() for name, value in model.state_dict().items()}
    state = State(1, meter=Interval(1, {"loss": 1.0}))
    at_once = save_checkpoint(tmp_path / "a", model, optimizer, state, averages)
    snapshot = take_snapshot(model, optimizer, state, averages)
    step(model, optimizer)
    state.meter.sums["loss"] = 2.0
    later = write_snapshot(tmp_path / "b", snapshot)
    assert len(list(later.iterdir())) == 4
    for file in at_once.iterdir():
        assert (later / file.name).read_bytes() == file.read_bytes()
    after = save_checkpoint(tmp_path / "c", model, optimizer, state, averages)
    assert (after / "model.safetensors").read_bytes() != (later / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "bool", "uint8"])
@pytest.mark.parametrize("shape", [[], [1], [0, 3], [4, 5]])
def test_a_copy_on_the_host_is_the_tensors_own_values_and_stays(dtype, shape):
    tensor = paddle.to_tensor(np.random.default_rng(0).integers(0, 2, shape).astype(dtype))
    for value in (tensor, tensor.transpose(list(range(len(shape)))[::-1])):
        expected = value.numpy().copy()
        copied = host_copy(value)
        value.set_value(paddle.zeros_like(value))
        assert copied.dtype == expected.dtype
        assert copied.flags.c_contiguous
        assert copied.flags.owndata
        np.testing.assert_array_equal(copied, expected)


def test_the_run_goes_on_while_one_is_written_and_never_are_two():
    writer, gate, running = CheckpointWriter(), threading.Event(), []

    def save(name):
        running.append(name)
        gate.wait(10)
        running.append(f"{name} done")

    writer.start(partial(save, "a"))
    writer.check()  # does not wait
    assert writer.busy
    opener = threading.Timer(0.05, gate.set)
    opener.start()
    writer.start(partial(save, "b"))
    writer.wait()
    assert running == ["a", "a done", "b", "b done"]
    assert not writer.busy


def test_an_error_is_raised_once_at_the_next_look(tmp_path):
    model, optimizer = trained()
    snapshot = take_snapshot(model, optimizer, State(2))
    write_snapshot(tmp_path, take_snapshot(model, optimizer, State(1)))
    (tmp_path / f".step_00000002.{os.getpid()}.tmp").write_text("in the way")
    for look in ("check", "wait", "start"):
        writer = CheckpointWriter()
        writer.start(partial(write_snapshot, tmp_path, snapshot))
        while writer.busy:
            time.sleep(0.001)
        with pytest.raises(CheckpointError, match=r"step_00000002 could not be written.*earlier ones are intact"):
            writer.start(print) if look == "start" else getattr(writer, look)()
        writer.check()
        writer.wait()
    assert newest_checkpoint(tmp_path, print).folder.name == "step_00000001"


def test_signals_are_handled_while_a_save_is_waited_for():
    writer, gate = CheckpointWriter(), threading.Event()
    writer.start(partial(gate.wait, 30))
    before = signal.signal(signal.SIGTERM, lambda number, frame: gate.set())
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        started = time.perf_counter()
        writer.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert gate.is_set()
    assert time.perf_counter() - started < 20


def save_for_ever(folder, tell):
    """Save again and again, as a run does, with NumPy alone: Paddle does not survive a fork."""
    writer = CheckpointWriter()
    for number in range(1, 10**6):
        arrays = {"a": np.full(2**17, number, "float32")}
        files = {"model.safetensors": arrays, "optimizer.safetensors": arrays}
        writer.start(partial(write_snapshot, folder, Snapshot(files, {}, State(number, bad_steps=number))))
        tell.send(number)


def test_killed_inside_a_save_each_checkpoint_is_whole_or_absent(tmp_path):
    inside = 0
    for number in range(12):
        folder = tmp_path / str(number)
        told, tell = (fork := multiprocessing.get_context("fork")).Pipe(duplex=False)
        process = fork.Process(target=save_for_ever, args=(folder, tell))
        process.start()
        for _ in range(3):
            told.recv()  # a save is in flight from one message to the next
        time.sleep(0.001 * number)
        process.kill()
        process.join()
        inside += len(list(folder.glob(".step_*.tmp")))
        found = list_checkpoints(folder)
        assert len(found) >= 2
        for checkpoint in found:
            state = open_checkpoint(checkpoint).state  # every checksum holds
            assert state.bad_steps == state.step
        sweep(folder)
        assert sorted(folder.iterdir()) == sorted(found)
    assert inside >= 3


def test_a_process_that_ends_finishes_its_save(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from mae_core.training.checkpoints.writer import CheckpointWriter\n"
        "CheckpointWriter().start(lambda: (time.sleep(0.3), Path(sys.argv[1]).write_text('whole')))\n"
        "raise SystemExit(5)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path / "file")], timeout=60, check=False)
    assert result.returncode == 5
    assert (tmp_path / "file").read_text() == "whole"


def test_large_files_are_written_beside_the_interpreter(tmp_path):
    """Writing releases the interpreter: the run's own thread counts on while 64 MB are written."""
    arrays = {"a": np.ones(2**24, "float32")}
    snapshot = Snapshot({"model.safetensors": arrays, "optimizer.safetensors": {}}, {}, State(1))
    writer = CheckpointWriter()
    writer.start(partial(write_snapshot, tmp_path, snapshot))
    ticks = 0
    while writer.busy:
        ticks += 1
    writer.wait()
    assert ticks > 100
