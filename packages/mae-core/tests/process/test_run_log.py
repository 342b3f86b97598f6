"""`log.jsonl`: mended or set aside, held back on a full disk, followed when its folder goes; no run ends of it."""

import errno
import io
import json
import os
import shutil

import pytest

from mae_core.files import temporary_path
from mae_core.process import run_log, stdio
from mae_core.process.run_log import RunLog, read_log


def record(step, **more):
    return {"step": step, "loss": 1.0, **more}


def keep_all(record):
    return True


@pytest.fixture
def path(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "log.jsonl"


GOOD = json.dumps(record(1)).encode() + b"\n"
DAMAGED = {
    "bad json": b"{bad json}\n",
    "not text": b'{"step": 2, "loss": "\xff"}\n',
    "no step": b'{"loss": 1.0}\n',
    "a step that is no number": b'{"step": "2"}\n',
    "a list": b"[1, 2]\n",
    "a number": b"5\n",
    "nested without end": b'{"step": ' + b"[" * 100_000 + b"\n",
    "a number of 5000 digits": b'{"step": ' + b"9" * 5000 + b"}\n",
    "empty line": b"\n",
    "zeros": bytes(4096) + b"\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_log_is_set_aside_and_goes_on_with_its_whole_records(path, caplog, name):
    path.write_bytes(GOOD + DAMAGED[name] + json.dumps(record(2)).encode() + b"\n")
    before = path.read_bytes()
    assert [r["step"] for r in read_log(path)] == [1, 2]
    log = RunLog(path, keep_all)
    log.write(record(3))
    log.close()
    assert [r["step"] for r in read_log(path)] == [1, 2, 3]
    assert path.with_name("log.jsonl.damaged-1").read_bytes() == before
    (line,) = caplog.messages
    assert "has 1 damaged lines; its 2 whole records are kept" in line
    assert "log.jsonl.damaged-1" in line
    RunLog(path, keep_all).close()  # it is whole now
    assert len(caplog.messages) == 1


def test_a_line_cut_off_by_a_crash_is_dropped_in_silence(path, caplog):
    path.write_bytes(GOOD + b'{"step": 2, "lo')
    log = RunLog(path, keep_all)
    log.write(record(2))
    log.close()
    assert [r["step"] for r in read_log(path)] == [1, 2]
    assert (caplog.messages, os.listdir(path.parent)) == ([], ["log.jsonl"])


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nowhere"])
def test_what_is_no_file_is_set_aside(path, caplog, kind):
    path.with_name("log.jsonl.damaged-1").touch()
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "link to nowhere": lambda: path.symlink_to("nowhere")}[
        kind
    ]()
    log = RunLog(path, keep_all)
    log.write(record(1))
    log.close()
    assert len(read_log(path)) == 1
    assert os.path.lexists(path.with_name("log.jsonl.damaged-2"))
    assert len(caplog.messages) == 1


def test_a_resumed_run_keeps_what_its_checkpoint_knows(path):
    path.write_text("".join(json.dumps(record(step)) + "\n" for step in range(1, 6)))
    log = RunLog(path, lambda r: r["step"] <= 3)
    log.write(record(4, again=True))
    log.close()
    assert [(r["step"], r.get("again")) for r in read_log(path)] == [(1, None), (2, None), (3, None), (4, True)]


def test_a_full_disk_holds_records_back_and_takes_them_later(path, caplog, monkeypatch):
    log, write = RunLog(path, keep_all), os.write
    log.write(record(1))

    def full(file, data):
        if len(data) > 10:
            return write(file, data[:10])  # a full disk takes a part first
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_log.os, "write", full)
    log.write(record(2))
    log.write(record(3))
    assert path.read_bytes() == GOOD  # nothing in part
    monkeypatch.undo()
    log.write(record(4))
    assert [r["step"] for r in read_log(path)] == [1, 2, 3, 4]
    monkeypatch.setattr(run_log.os, "write", full)
    log.write(record(5))
    log.close()
    assert [m.partition("log.jsonl ")[2] for m in caplog.messages[:2]] == [
        "cannot be written (No space left on device); training goes on, and its records are held back"
    ] * 2
    assert caplog.messages[2].startswith("1 records are not in")
    assert len(caplog.messages) == 3


def test_a_log_that_cannot_even_begin_begins_later(path, caplog):
    shutil.rmtree(path.parent)
    log = RunLog(path, keep_all)
    log.write(record(1))
    path.parent.mkdir()
    log.write(record(2))
    log.close()
    assert [r["step"] for r in read_log(path)] == [1, 2]
    assert len(caplog.messages) == 1


def test_a_log_whose_folder_went_is_followed(path, caplog):
    log = RunLog(path, keep_all)
    log.write(record(1))
    os.rename(path.parent, path.parent.with_name("moved"))
    log.write(record(2))  # held back: there is no folder
    path.parent.mkdir()
    log.write(record(3))
    path.with_name("edited").write_bytes(GOOD)
    os.replace(path.with_name("edited"), path)  # as an editor saves
    log.write(record(4))
    log.close()
    assert [r["step"] for r in read_log(path)] == [1, 4]
    assert [r["step"] for r in read_log(path.parent.with_name("moved") / "log.jsonl")] == [1]
    assert ["cannot be written (No such file" in m for m in caplog.messages] == [True, False, False]


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_lost_standard_output_is_noted_once(path, monkeypatch):
    monkeypatch.setattr(stdio, "_lost", {})
    monkeypatch.setattr(stdio, "_unlogged", [])
    log = RunLog(path, keep_all)
    stdio.print_line("a line", Full())
    stdio.print_line("another", Full())
    log.write(record(1))
    log.write(record(2))
    log.close()
    assert [r.get("note") for r in read_log(path)] == [
        "standard output cannot be written (No space left on device); what is printed there is lost",
        None,
    ]


def test_a_link_at_the_temporary_name_is_not_followed(path, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    temporary_path(path).symlink_to(tmp_path / "mine")
    path.write_bytes(GOOD)
    RunLog(path, keep_all).close()
    assert (path.is_symlink(), path.read_bytes()) == (False, GOOD)
    assert (tmp_path / "mine").read_bytes() == b"mine"
