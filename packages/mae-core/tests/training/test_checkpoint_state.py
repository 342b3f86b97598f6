"""`state.json` is trusted in nothing: each flipped bit and hostile entry is found, an earlier one is taken."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import mae_core  # noqa: F401
from mae_core.errors import CheckpointError
from mae_core.training.checkpoints.checkpoint import update_state
from mae_core.weights import checkpoint_folder
from mae_core.weights.checkpoint_folder import RESUMED, newest_checkpoint, open_checkpoint
from mae_core.weights.checkpoint_state import Best, Validated, decode_state, encode_record

OLD = Path(__file__).parent / "schema_1" / "step_00000006"  # written by version 0.1.0


@pytest.fixture
def run(tmp_path):
    """Two checkpoints of a run, sealed."""
    for step in (5, 6):
        copied = shutil.copytree(OLD, tmp_path / f"step_{step:08d}")
        write(copied, json.loads((OLD / "state.json").read_text()) | {"step": step})
    return tmp_path


def write(checkpoint, record, seal=True):
    data = encode_record(record) if seal else json.dumps({**record, "schema": 1}).encode()
    (checkpoint / "state.json").write_bytes(data)


def test_a_checkpoint_of_the_first_release_is_read_and_can_be_scored(tmp_path):
    assert open_checkpoint(OLD, RESUMED).state.step == 6
    copied = shutil.copytree(OLD, tmp_path / OLD.name)
    best = {"best": {"step": 6, "score": 0.75}, "scored": 6}
    update_state(copied, {"validation": best})
    assert open_checkpoint(copied).state.validation == Validated(Best(6, 0.75), 6)
    assert json.loads((copied / "state.json").read_text())["schema"] == 2


def test_every_flipped_bit_is_detected(run):
    good = (run / "step_00000006" / "state.json").read_bytes()
    assert decode_state(good).step == 6
    passed = []
    for position in range(8 * len(good)):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        try:
            decode_state(bytes(bad))
        except ValueError:
            continue
        passed.append(position)
    assert len(good) > 600
    assert not passed


def test_a_damaged_state_falls_back_with_a_warning(run):
    file = run / "step_00000006" / "state.json"
    good = file.read_bytes()
    for position in np.random.default_rng(0).integers(0, 8 * len(good), 40):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << int(position % 8)
        file.write_bytes(bad)
        said = []
        found = newest_checkpoint(run, said.append, RESUMED)
        assert (found.folder.name, found.state.step) == ("step_00000005", 5)
        assert "step_00000006 is incomplete or damaged" in said[0]
        assert "\n" not in said[0]


SHA = "0" * 64
SUMS = json.loads((OLD / "state.json").read_text())["sha256"]
HOSTILE = {
    "step of another": {"step": 5},
    "step negative": {"step": -6},
    "step huge": {"step": 10**300},
    "step as text": {"step": "6"},
    "step as float": {"step": 6.0},
    "step as flag": {"step": True},
    "device": {"sha256": {**SUMS, "/dev/zero": SHA}},
    "parent": {"sha256": {**SUMS, "../step_00000005/state.json": SHA}},
    "itself": {"sha256": {**SUMS, "state.json": SHA}},
    "file left out": {"sha256": {name: text for name, text in SUMS.items() if "model" not in name}},
    "file present, not listed": {"sha256": {name: text for name, text in SUMS.items() if "ema" not in name}},
    "sums as list": {"sha256": ["model.safetensors"]},
    "sum as number": {"sha256": {**SUMS, "model.safetensors": 0}},
    "scaler": {"scaler": {"x": 1}},
    "scale as text": {"scaler": {"scale": "x" * 10}},
    "meter empty": {"meter": {}},
    "meter sums": {"meter": {"steps": 1, "sums": {"loss": 10**400}}},
    "meter as list": {"meter": []},
    "bad steps": {"bad_steps": None},
    "validation": {"validation": {"best": {}, "scored": 0}},
    "scored later": {"validation": {"best": None, "scored": 7}},
    "best later": {"validation": {"best": {"step": 7, "score": 1.0}, "scored": 6}},
    "ranks": {"world_size": 10**9},
    "no ranks": {"world_size": 0},
    "config as text": {"config": "x"},
    "config keys": {"config": {"A\x1b[2J": 1}},
    "text that cannot be printed": {"note": "\ud800"},
    "versions": {"versions": {"paddle": 3}},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("seal", [True, False], ids=["sealed", "of schema 1"])
def test_hostile_entries_are_refused_and_open_no_other_file(run, monkeypatch, change, seal):
    newest = run / "step_00000006"
    write(newest, json.loads((OLD / "state.json").read_text()) | change, seal)
    opened = []
    real = checkpoint_folder.sha256
    monkeypatch.setattr(checkpoint_folder, "sha256", lambda path: opened.append(path) or real(path))
    said = []
    assert newest_checkpoint(run, said.append, RESUMED).folder.name == "step_00000005"
    assert len(said) == 1
    assert said[0].isprintable()
    assert len(said[0]) < 500 + len(str(run))
    assert {path.name for path in opened} <= set(SUMS)
    assert {path.parent.parent for path in opened} == {run}


@pytest.mark.parametrize("key", [*RESUMED, "schema", "step", "sha256"])
def test_an_entry_that_is_missing_is_named(run, key):
    newest = run / "step_00000006"
    record = {k: v for k, v in json.loads((OLD / "state.json").read_text()).items() if k != key}
    (newest / "state.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=key):
        open_checkpoint(newest, RESUMED)


DAMAGED = {
    "empty": b"",
    "a list": b"[]",
    "a number": b"1" * 6000,
    "nested": b"[" * 200_000,
    "nested in an entry": b'{"schema": 1, "step": 6, "sha256": {}, "config": ' + b'{"A":' * 500 + b"1" + b"}" * 501,
    "other encoding": '{"schema": 1}'.encode("utf-16"),
    "endless": b" " * (2**24 + 1),
    "null": b"null",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damage_of_any_shape_is_one_line_and_quick(run, data):
    newest = run / "step_00000006"
    (newest / "state.json").write_bytes(data)
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match="incomplete or damaged") as error:
        open_checkpoint(newest)
    assert time.perf_counter() - started < 2
    assert len(str(error.value)) < 500 + len(str(run))
    assert newest_checkpoint(run, lambda line: None).folder.name == "step_00000005"


@pytest.mark.parametrize("name", ["state.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "missing"])
def test_what_is_no_file_is_not_read(run, name, kind):
    path = run / "step_00000006" / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    said = []
    assert newest_checkpoint(run, said.append).folder.name == "step_00000005"
    assert name in said[0]


def test_the_old_checkpoints_arrays_are_read_as_they_are():
    for name in SUMS:
        ours = checkpoint_folder.read_safetensors(OLD / name)[0]
        theirs = load_file(OLD / name)
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            np.testing.assert_array_equal(ours[key], value)
