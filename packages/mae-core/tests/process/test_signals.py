"""Signals: which code a process ends with, inside and outside the training loop."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from until import until

from mae_core.process.signals import Stop
from mae_core.training.stop_request import StopRequest

pytestmark = pytest.mark.once

COMMAND = """
import sys, time
from mae_core.process.command_line import run
def body(argv):
    if "paddle" in argv:
        from mae_core.process.runtime import import_paddle
        import_paddle()
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidied", flush=True)
sys.exit(run(body))
"""
BLOCKED = """
import ctypes
from mae_core.training.stop_request import StopRequest
with StopRequest():
    print("ready", flush=True)
    lock = ctypes.create_string_buffer(256)  # a mutex: whoever locks it twice waits for ever, in compiled code
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)
"""


def start(code, *args, **kwargs):
    process = subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_of_several_ranks_wishes_the_requeue_wins_and_then_the_end():
    everyone = [sum(counts) for counts in zip(*(Stop.counts(kind) for kind in Stop), strict=True)]
    assert Stop.first(everyone) is Stop.REQUEUE
    two = [a + b for a, b in zip(Stop.counts(Stop.INTERRUPTED), Stop.counts(Stop.TERMINATED), strict=True)]
    assert Stop.first(two) is Stop.TERMINATED
    assert Stop.first(Stop.counts(None)) is None
    assert [kind.value for kind in (Stop.REQUEUE, Stop.TERMINATED, Stop.INTERRUPTED)] == [75, 143, 130]


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGTERM, 143, ["paddle"]), (signal.SIGHUP, 143, []), (signal.SIGUSR1, 75, [])],
)
def test_a_command_outside_the_loop_ends_at_once_and_tidies_up(number, code, words):
    process = start(COMMAND, *words)
    started = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert (process.returncode, out) == (code, "tidied\n")
    assert err.splitlines() == [f"ended by {number.name}"]


SAVED = """
import sys, time
from mae_core.process.command_line import run
from mae_core.errors import Stopped
def body(argv):
    raise Stopped("saved", 75)
code = run(body)
print("ready", flush=True)
sys.stdin.read()  # what is left to do at the end
sys.exit(code)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_run_that_has_saved_keeps_its_code_whatever_comes(number):
    """`srun` sends SIGTERM to all other tasks when the first one has ended."""
    process = start(SAVED, stdin=subprocess.PIPE)
    process.send_signal(number)
    assert "saved" in process.communicate(timeout=30)[1]
    assert process.returncode == 75


def test_a_signal_that_the_caller_ignores_stays_ignored():
    process = start(COMMAND, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # nohup
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[1].splitlines() == ["ended by SIGTERM"]
    assert process.returncode == 143


def nothing_pends(process):
    """Return whether the process took its signals."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return all(int(bits, 16) == 0 for bits in re.findall(r"^S\w+Pnd:\s*(\w+)", status, re.MULTILINE))


def test_a_second_interrupt_quits_at_once_even_in_compiled_code():
    process = start(BLOCKED)
    process.send_signal(signal.SIGINT)
    until(lambda: nothing_pends(process))
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ([signal.SIGHUP], Stop.TERMINATED),
        ([signal.SIGUSR1, signal.SIGTERM], Stop.REQUEUE),  # a batch system that grows impatient
        ([signal.SIGUSR1, signal.SIGINT], Stop.INTERRUPTED),
    ],
)
def test_a_run_notes_why_it_is_to_stop(sent, asked):
    before = [signal.getsignal(number) for number in sent]
    with StopRequest() as stop:
        assert not stop
        for number in sent:
            os.kill(os.getpid(), number)
        assert stop.asked is asked
    assert [signal.getsignal(number) for number in sent] == before
