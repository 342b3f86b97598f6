"""What actionlint and zizmor cannot know of the workflows: our own commands, and which job waits for which."""

import re
import shlex

import pytest
import yaml

import dev
from workspace import ROOT

pytestmark = pytest.mark.once

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEXTS = "\n".join(file.read_text(encoding="utf-8") for file in WORKFLOWS)
LINES = re.findall(r"python tools/dev\.py ([^#)\n]+)", TEXTS)


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_a_command_of_a_workflow_is_one_of_ours(line: str) -> None:
    args, rest = dev.make_parser().parse_known_args(shlex.split(line.replace("$PADDLE", "3.3.1")))
    assert args.command in dev.COMMANDS
    assert not rest or args.command in dev.PASSES_ARGUMENTS_ON


def test_one_check_waits_for_every_job_of_a_change_and_a_release_for_all() -> None:
    ci, release = (yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"] for file in WORKFLOWS)
    nightly = {name for name, job in ci.items() if "schedule" in str(job.get("if"))}
    assert set(ci["required"]["needs"]) == ci.keys() - nightly - {"required"}
    assert set(release["publish"]["needs"]) == {"ci", "build", "try"}
    # The one job that may ask for an identity runs nothing of the repository.
    assert [step.get("run") for step in release["publish"]["steps"]] == [None, None]
