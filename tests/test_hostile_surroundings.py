"""Runs among full disks, closed streams, damaged logs, no home, little memory, Ctrl-C: one line, and nothing lost."""

import os
import resource
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
import warm_commands
from stage_runs import PRETRAIN, assert_refused, records

from mae_core.process.run_log import read_log

pytestmark = pytest.mark.once  # disks, streams and limits are the system's

PADDLE_2 = metadata.version("paddlepaddle").startswith("2.")
SHORT = (*PRETRAIN.tiny, "TRAIN.NUM_EPOCHS", "1", "TRAIN.WARMUP_EPOCHS", "0")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def start(*args, env=None, **kwargs):
    return warm_commands.run(PRETRAIN.command(*args), env={**os.environ, **(env or {})}, **kwargs)


def start_python(*args, env=None, **kwargs):
    """For what is decided before Paddle is imported."""
    env = {**os.environ, **(env or {})}
    return subprocess.run(PRETRAIN.command(*args), capture_output=True, text=True, timeout=300, env=env, **kwargs)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run whose standard output was full, and whose home is no folder."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with open("/dev/full", "w") as full:
        result = start(
            "-data_path", data, "-batch_size", 4, "-output", folder, *SHORT, stdout=full, env={"HOME": "/dev/null"}
        )
    assert result.returncode == 0, result.stderr
    assert "standard output cannot be written (No space left on device); the run goes on" in result.stderr
    return folder


def test_full_output_and_no_home_cost_nothing_but_lines(run):
    notes = [record.get("note") for record in read_log(run / "log.jsonl")]
    assert notes == [
        "standard output cannot be written (No space left on device); what is printed there is lost",
        *[None] * 5,
    ]
    assert (run / "checkpoints" / "step_00000006").is_dir()


@pytest.mark.parametrize("damage", ["lines", "folder"])
def test_a_damaged_log_is_said_once_and_the_run_goes_on(run, data, tmp_path, damage):
    shutil.copytree(run, again := tmp_path / "run")
    log = again / "log.jsonl"
    whole = records(again)
    if damage == "lines":
        log.write_bytes(b'{bad json}\n\xff\n{"loss": 1}\n' + log.read_bytes() + b'{"step": 7, "lo')
    else:
        log.unlink()
        log.mkdir()
    args = ("-data_path", data, "-batch_size", 4, "-output", again, "-resume", "auto", *SHORT)
    result = start(*args, "TRAIN.NUM_EPOCHS", "2", "--allow-drift", "TRAIN.NUM_EPOCHS")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("log.jsonl.damaged-1") == 1
    found = records(again)
    assert [r["step"] for r in found[-6:]] == [7, 8, 9, 10, 11, 12]
    assert found[:-6] == (whole if damage == "lines" else [])


@pytest.mark.parametrize("missing", [b"libpaddle", b"numpy"])
def test_ctrl_c_while_paddle_is_imported(missing, data, tmp_path):
    words = PRETRAIN.command("-data_path", data, "-output", tmp_path / "o", *SHORT)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        while missing not in maps.read_bytes():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted by Ctrl-C\n")


def test_little_memory_is_named_with_what_to_lower(data, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    args = ("-data_path", data, "-batch_size", 4, "-output", tmp_path / "o", *SHORT, "MODEL.ENCODER.EMBED_DIM", 65536)
    assert_refused(
        start_python(*args, preexec_fn=limit), 2, ["out of memory", "DATA.BATCH_SIZE", "MODEL.GRAD_CHECKPOINTING"]
    )


@pytest.mark.parametrize(
    ("kind", "limit", "words"),
    [
        pytest.param(
            resource.RLIMIT_AS,
            400 << 20,
            ["too little memory to load Paddle's libraries (now ", "ulimit -v"],
            marks=pytest.mark.skipif(PADDLE_2, reason="Paddle 2's libraries end the process themselves"),
        ),
        (resource.RLIMIT_STACK, 256 << 10, ["the stack may take 256 KiB, and Paddle needs 512", "ulimit -s"]),
        (resource.RLIMIT_NOFILE, 14, ["too few files may be open (now 14)", "ulimit -n"]),
    ],
)
def test_a_limit_below_what_a_start_needs_is_named(data, tmp_path, kind, limit, words):
    args = ("-data_path", data, "-batch_size", 4, "-output", tmp_path / "o", *SHORT, "DATA.NUM_WORKERS", 2)
    result = start_python(*args, preexec_fn=lambda: resource.setrlimit(kind, (limit, limit)))
    assert_refused(result, 2, words)


def test_export_to_a_name_that_the_locale_lacks(run, tmp_path):
    folder = tmp_path / "wörk ü"
    result = start_python("export", "-pretrained", run, "-output", folder, env={**ASCII, "HOME": "/proc"})
    assert result.returncode == 0, result.stderr
    assert (folder / "export.json").is_file()


def test_a_full_disk_is_named_before_the_first_step(data, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        (disk / "run" / "checkpoints").mkdir(parents=True)
        with (disk / "fill").open("wb", buffering=0) as fill, suppress(OSError):
            while True:
                fill.write(bytes(4096))
        result = start("-data_path", data, "-batch_size", 4, "-output", disk / "run", *SHORT)
        assert_refused(result, 2, ["config.yaml cannot be written (No space left on device)"])
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_goes_during_the_run_is_said(data, tmp_path):
    words = ["-data_path", data, "-batch_size", 4, "-output", tmp_path / "o", *SHORT, "TRAIN.NUM_EPOCHS", 40]
    with PRETRAIN.begin(*words) as process:
        while not (tmp_path / "o/checkpoints/step_00000006").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        os.rename(tmp_path / "o", tmp_path / "elsewhere")
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert said.count("was removed or moved during the run: what this run saved is not there any more") == 1
    assert (tmp_path / "o/checkpoints/step_00000240").is_dir()
