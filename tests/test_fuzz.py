"""The fuzzer finds what it looks for, repeats what it does, and finds nothing in a short run."""

import random
import time
from types import SimpleNamespace

import pytest

import fuzz
import fuzz_readers

pytestmark = pytest.mark.once


def raises(data: bytes) -> None:
    raise KeyError(data)


@pytest.mark.parametrize(
    ("read", "own", "words"),
    [
        (raises, (ValueError,), "KeyError"),
        (raises, (KeyError,), ""),
        (lambda data: time.sleep(0.05), (), "took 0."),
        (len, (), ""),
    ],
)
def test_a_case_is_judged(read, own, words, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0.04)
    wrong = fuzz.try_case(read, own, b"x")
    assert words in wrong
    assert bool(words) == bool(wrong)


def test_mutations_change_files_and_follow_the_seed():
    first, again = ([fuzz.mutated(b"abcdefgh", rng) for _ in range(50)] for rng in (random.Random(1), random.Random(1)))
    assert first == again
    assert len(set(first)) > 30


def test_a_short_run_finds_nothing(tmp_path, capfd):
    assert fuzz.main(["--seconds", "0.4", "--output", str(tmp_path)]) == 0
    assert {line.split(":")[0] for line in capfd.readouterr().out.splitlines()} == set(fuzz_readers.READERS)


def test_a_finding_ends_its_process_and_its_file_stays(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(fuzz.os, "_exit", lambda code: ended.append(code) or raises(b""))
    monkeypatch.setitem(fuzz_readers.READERS, "lists", lambda folder: ([b""], lambda data: data and raises(data), ()))
    with pytest.raises(KeyError):
        fuzz.fuzz("lists", 0, 5, tmp_path, SimpleNamespace(value=0))
    assert ended == [1]
    assert (tmp_path / "lists.case").read_bytes()
