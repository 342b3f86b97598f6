"""Examples in docstrings run and give what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import mae_core

ROOT = Path(__file__).resolve().parents[1]
FILES = [file for file in sorted(ROOT.glob("packages/*/src/**/*.py")) if ">>> " in file.read_text(encoding="utf-8")]

assert mae_core  # prepares the runtime before Paddle is imported


def module_of(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[parts.index("src") + 1 :]).removesuffix(".__init__")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_examples_give_what_they_say(file: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(import_module(module_of(file)))
    assert results.attempted > 0
    assert results.failed == 0
