"""One public name, one meaning: a name that is defined twice must be known to mean the same in both places."""

import ast
from collections import defaultdict
from collections.abc import Iterator

import pytest

from workspace import ROOT

pytestmark = pytest.mark.once

# Names that mean the same wherever they are, though they are defined more than once, and why.
SAME = {
    "main": "the entry of a console script",
    "build_model": "stages build theirs from a config, mae_core by a preset's name",
    "build_optimizer": "stages build theirs from a config, pre-training by its name",
    "available_cores": "core and data may not import each other; a test compares them",
    "red": "core and data may not import each other; a test compares them",
    "explain_limit": "core and data may not import each other",
    "dry_run": "the call of Python, and what command and call share",
    "read_header": "of the format that its module is named after",
    "read_slice": "of a file, and of a NIfTI stream",
    "decays": "fine-tuning's rule extends pre-training's",
}


def public_names() -> Iterator[tuple[str, str]]:
    """Yield the name and file of each public function and class at the top of a module."""
    for file in sorted(ROOT.glob("packages/*/src/**/*.py")):
        place = file.relative_to(ROOT / "packages").as_posix().split("/src/")[1]
        names = {
            node.name
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        }
        yield from ((name, place) for name in sorted(names))


def plays_one_part(places: list[str]) -> bool:
    """Return whether a name is the same part of several packages, or an operator beside its reference twin."""
    for stage in ("refine", "distill"):  # in another's package
        places = [place.replace(f"mae_pretrain/{stage}/", f"{stage}/") for place in places]
    packages = [place.partition("/")[0] for place in places]
    parts = {place.partition("/")[2] for place in places}
    twins = {place for place in places if place != "mae_core/ops/reference.py"}
    return (len(parts) == 1 and len(set(packages)) == len(places)) or (
        len(twins) == 1 < len(places) and all(place.startswith("mae_core/ops/") for place in places)
    )


def test_a_name_has_one_meaning() -> None:
    places = defaultdict(list)
    for name, place in public_names():
        places[name].append(place)
    twice = {name: found for name, found in places.items() if len(found) > 1 and not plays_one_part(found)}
    assert len(places) > 500
    assert {name: found for name, found in twice.items() if name not in SAME} == {}
    assert set(SAME) <= set(twice), "names that are defined once do not need a reason any more"


def test_the_rule_sees_a_second_meaning() -> None:
    assert plays_one_part(["mae_pretrain/build.py", "mae_probe/build.py"])
    assert plays_one_part(["mae_core/ops/reference.py", "mae_core/ops/masking.py"])
    assert not plays_one_part(["mae_core/report/page.py", "mae_data/images/tiff_directory.py"])
    assert not plays_one_part(["mae_core/ops/fused.py", "mae_core/process/runtime.py"])
