"""Boards get what the log gets; a broken one gets one warning and ends nothing."""

import logging

import numpy as np
import pytest

from mae_core.process.installation import pip_install
from mae_core.process.run_log import RunLog, read_log
from mae_core.training import writers
from mae_core.training.writers import BOARDS, open_writers

FIGURES = {"epoch": 0.5, "loss": 0.25}
GRID = {"grid": np.arange(48, dtype=np.uint8).reshape(4, 4, 3)}


def write_all(folder, names):
    opened = open_writers(RunLog(folder / "log.jsonl", lambda record: True), names, folder, {"MODEL": {"DEPTH": 3}})
    for step in (1, 2):
        for writer in opened:
            writer.write("train", step, FIGURES)
            writer.write("pictures", step, GRID)
    for writer in reversed(opened):
        writer.close()
    return read_log(folder / "log.jsonl")


class Broken:
    """A board that breaks at one of its three moments."""

    def __init__(self, moment, calls):
        self.moment, self.calls = moment, calls

    def __call__(self, folder, config):
        return self._do("open") or self

    def write(self, kind, step, figures):
        self._do("write")

    def close(self):
        self._do("close")

    def _do(self, moment):
        self.calls.append(moment)
        if moment == self.moment:
            raise RuntimeError("no route to the board")


@pytest.mark.parametrize(("moment", "calls"), [("open", 1), ("write", 2), ("close", 6)])
def test_a_broken_board_is_said_once_and_left_alone(tmp_path, monkeypatch, caplog, moment, calls):
    asked = []
    monkeypatch.setitem(BOARDS, "tensorboard", Broken(moment, asked))
    with caplog.at_level(logging.WARNING):
        records = write_all(tmp_path, ["tensorboard"])
    assert records == [{"kind": "train", "step": step, **FIGURES} for step in (1, 2)]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "LOGGERS tensorboard: no route to the board; the run goes on without it"
    assert len(asked) == calls


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_that_is_not_installed_says_what_to_install(tmp_path, monkeypatch, caplog, name):
    def missing(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(writers, "import_module", missing)
    assert len(write_all(tmp_path, [name])) == 2
    assert pip_install("mae-core", name) in caplog.text


def test_tensorboard_holds_scalars_pictures_and_config(tmp_path):
    pytest.importorskip("tensorboardX", reason="the tensorboard extra is not installed")
    from tensorboardX.proto.event_pb2 import Event

    write_all(tmp_path, ["tensorboard"])
    (file,) = (tmp_path / "tensorboard").iterdir()
    values = [value for event in events(file.read_bytes(), Event) for value in event.summary.value]
    assert [v.simple_value for v in values if v.tag == "train/loss"] == [0.25, 0.25]
    assert [v.image.width for v in values if v.tag == "pictures/grid"] == [4, 4]
    assert any("DEPTH: 3" in s.decode() for v in values if "config" in v.tag for s in v.tensor.string_val)


def events(data, kind):
    """Read TensorBoard's records: a length of 8 bytes, its checksum of 4, the message, its checksum of 4."""
    while data:
        length = int.from_bytes(data[:8], "little")
        yield kind.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_visualdl_and_wandb_take_the_same(tmp_path, monkeypatch, caplog):
    """Weights & Biases without a network: the offline folder is what `wandb sync` sends later."""
    installed = [name for name in ("visualdl", "wandb") if _installed(name)]
    if not installed:
        pytest.skip("neither visualdl nor wandb is installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with caplog.at_level(logging.WARNING):
        write_all(tmp_path, installed)
    assert not caplog.records
    patterns = {"visualdl": "visualdl/vdlrecords*.log", "wandb": "wandb/offline-run-*/run-*.wandb"}
    for name in installed:
        (file,) = tmp_path.glob(patterns[name])
        assert file.stat().st_size > 100


def _installed(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True
