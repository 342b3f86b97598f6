"""What the READMEs print is accepted as printed, up to where the work begins; see test_documentation for the rest."""

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("mae-pretrain", "mae-finetune")
READMES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("packages/*/README.md")),
    ROOT / "tools" / "README.md",
    *sorted(ROOT.glob(".github/*.md")),
]


def code_blocks(readme: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[str]:
    """Every command line of a program in the READMEs, continuation lines joined, without comment and prompt."""
    lines = []
    for readme in READMES:
        for block in code_blocks(readme, "(?:|sh|shell|bash|console)"):
            joined = block.replace("\\\n", " ")
            lines += re.findall(rf"^(?:\$ )?(?:[A-Z_]+=\S+ +)*({program} .*?)(?: +#.*)?$", joined, re.MULTILINE)
    return lines


def test_the_two_commands_stand_on_the_first_screen():
    first_screen = "".join(READMES[0].read_text().splitlines(keepends=True)[:20])
    assert "python3 tools/dev.py demo" in first_screen
    assert "python3 tools/dev.py test" in first_screen


@pytest.mark.parametrize("line", sorted(set(commands(r"python3? tools/dev\.py"))))
def test_tool_commands_exist(line):
    words = shlex.split(line.split("[")[0])
    done = subprocess.run([sys.executable, ROOT / "tools/dev.py", words[2], "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"dev.py {words[2]}" in done.stdout


@pytest.mark.parametrize("line", [line for stage in STAGES for line in sorted(set(commands(stage)))])
def test_training_commands_are_accepted(line, monkeypatch):
    words = shlex.split(line)
    package = words[0].replace("-", "_")
    reached = []
    monkeypatch.setattr("mae_core.weights.load.saved_config", lambda *args: (Path("w"), {}))
    works = [("train", "train"), ("evaluate", "evaluate"), ("export", "export")]
    works += [("predict_command", "run_predict")] if package == "mae_finetune" else []
    for module, function in works:
        monkeypatch.setattr(f"{package}.{module}.{function}", lambda *args, **kwargs: reached.append(args))
    assert import_module(f"{package}.cli").main(words[1:]) == 0
    assert len(reached) == 1


def test_there_are_commands_to_check():
    assert any("-cfg='./configs/vit_base_patch16_224_pretrain.yaml'" in line for line in commands("mae-pretrain"))
    assert len(commands(r"python3? tools/dev\.py")) >= 2
