"""The page on faults names tests: each stands where it can be run."""

import re

from stage_runs import ROOT


def test_every_test_of_the_table_exists():
    page = (ROOT / "packages/mae-core/docs/reliability.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 40
    files = [*ROOT.glob("tests/test_*.py"), *ROOT.glob("packages/*/tests/**/test_*.py")]
    tests = re.findall(r"^def (test_\w+)", "\n".join(path.read_text() for path in files), re.MULTILINE)
    assert [name for name in sorted(named) if not any(test.startswith(name) for test in tests)] == []
