"""A library compiled from other sources than the Python beside it is refused in words, not called."""

import hashlib
import re
from pathlib import Path

import pytest

from mae_core.ops import fused

CSRC = Path(__file__).parents[2] / "csrc"
# By version, a hash of what Python calls: names, inputs, outputs and attributes of all operators.
INTERFACES = {2: "3cce632ce41f519a", 3: "7c2f1e4b67d4a300"}


def interface():
    """Read the operators' declarations from the sources, without their layout."""
    sources = "".join(path.read_text() for path in sorted(CSRC.glob("*.cc")))
    declared = re.findall(r"#define MAE_BLOCK_ATTRS.*?\n|PD_BUILD_(?:GRAD_)?OP\(.*?SetKernelFn", sources, re.DOTALL)
    assert len(declared) > 8
    return hashlib.sha256(re.sub(r"\s+", "", "".join(declared)).encode()).hexdigest()[:16]


def test_other_operators_have_another_version():
    assert INTERFACES.get(fused.LIBRARY_VERSION) == interface(), "raise LIBRARY_VERSION here, in fused.py and in csrc"


def test_sources_and_python_name_the_same_version():
    number = re.search(r"mae_library_version\(\) { return (\d+); }", (CSRC / "library_facts.cc").read_text())
    assert number
    assert int(number[1]) == fused.LIBRARY_VERSION


@pytest.mark.skipif(not fused.LOADED, reason=f"fused operators: {fused.why_not()}")
def test_a_library_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(fused, "LIBRARY_VERSION", 4)
    error = fused._load()
    assert error == "it has the operators of version 3, this mae-core needs 4"
    monkeypatch.setattr(fused, "LOAD_ERROR", error)
    assert "could not be loaded (it has the operators of version 3" in fused.why_not()


def test_a_library_that_cannot_tell_is_of_the_first_version():
    assert fused._version(Path("libm.so.6")) == 1
