"""What the pages print works: their blocks run on small pictures, or say why not and name only what exists."""

import argparse
import gc
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from document_blocks import PAGES, Block, blocks_of, write_pictures

import dev
import mae_core
from mae_core.stage.config import foreign_keys
from site_commands import parsers
from workspace import ROOT, read_packages

assert mae_core  # prepares the runtime before Paddle is imported

PARSERS = {parser.prog: parser for parser in parsers()}
MAINS = {
    "mae-core": "mae_core.cli",
    "mae-data": "mae_data.cli",
    **{f"mae-{stage}": f"mae_{stage}.cli" for stage in ("pretrain", "finetune", "probe")},
}
# The stage that each command trains, or whose config it reads.
STAGES = {f"mae-{stage}": f"mae_{stage}" for stage in ("pretrain", "finetune", "probe")}
STAGES |= {f"mae-pretrain {stage}": f"mae_pretrain.{stage}" for stage in ("refine", "distill")}
RECIPES = {command: import_module(f"{package}.config").RECIPE for command, package in STAGES.items()}
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN_PAGES = [page for page in PAGES if any(not block.not_run for block in blocks_of(page))]
# A line that starts ranks, and the command that each of them runs.
LAUNCHERS = {
    r"python -m paddle\.distributed\.launch(?: --\S+)* \$\(which (mae-\w+)\)": r"\1",
    r"(?:[A-Z]+=\S+ )*tools/run_(\w+?)_multi\.sh": r"mae-\1",
    r"sbatch tools/pretrain\.sbatch": "mae-pretrain",
}
OTHER_PROGRAMS = {
    ".venv/bin/nbstripout",
    ".venv/bin/jupyter",
    "pip",
    "pipx",
    "python",
    "python3",
    "git",
    ".ci/run",
    "cat",
    "tensorboard",
}
# What writes the pictures of a page.
NEEDED = {"medical": ("pydicom", "nibabel"), "microscopy": ("tifffile",)}
# Appended where a command trains: the pages' commands, with one block for one epoch.
SHORT = ["TRAIN.NUM_EPOCHS", "1", "TRAIN.WARMUP_EPOCHS", "0", "DATA.NUM_WORKERS", "0"]
SHALLOW = ["MODEL.ENCODER.DEPTH", "1"]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def command_words(line: str) -> list[str]:
    for launcher, command in LAUNCHERS.items():
        line = re.sub(f"^{launcher}", command, line)
    return shlex.split(line)


def parser_for(words: list[str]) -> argparse.ArgumentParser:
    return PARSERS.get(" ".join(words[:2])) or PARSERS[words[0]]


def parsers_for(words: list[str]) -> list[argparse.ArgumentParser]:
    """List the parser that words call, or all of a program that is named alone."""
    found = PARSERS.get(" ".join(words[:2]))
    return [found] if found else [parser for prog, parser in PARSERS.items() if prog.split()[0] == words[0]]


def check_command(words: list[str]) -> None:
    """Parse a command as it would, and look its config keys up."""
    parser = parser_for(words)
    rest = words[len(parser.prog.split()) :]
    if recipe := RECIPES.get(" ".join(words[:2])) or RECIPES.get(words[0]):
        args = parser.parse_intermixed_args(rest)
        pairs = [*getattr(args, "pairs", []), *(word for pair in getattr(args, "set", []) for word in pair)]
        assert len(pairs) % 2 == 0, words
        assert set(pairs[::2]) <= recipe.keys.keys(), words
        if "vit_" in (config := getattr(args, "cfg", None) or ""):
            recipe.load(config, pairs=pairs)  # a packaged file, and values that it takes
    else:
        parser.parse_args(rest)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_that_are_not_run_say_why_and_name_only_what_exists(page: Path) -> None:
    for block in blocks_of(page):
        assert len(block.not_run) > 8 or not block.not_run
        if block.not_run and block.kind == "python":
            compile(block.text, name(page), "exec")
        elif block.not_run:
            for line in block.commands():
                words = command_words(line)
                if words[0] in MAINS:
                    check_command(words)
                elif "tools/dev.py" in words:
                    assert dev.make_parser().parse_known_args(words[2:])[0].command in dev.COMMANDS
                else:
                    assert words[0] in OTHER_PROGRAMS, line
            scripts = re.findall(r"\b(?:tools|packages)/[\w./-]+\.(?:py|sh|sbatch)", block.text)
            assert [script for script in scripts if not (ROOT / script).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_flags_keys_and_extras_that_a_page_names_exist(page: Path) -> None:
    text = re.sub(r"^```diff\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for code in re.findall(r"`(mae-\w+ [^`\n]+)`", text):
        words = code.split()
        known = {spelling for parser in parsers_for(words) for spelling in parser._option_string_actions}
        given = {word.split("=")[0].rstrip(",;") for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, code
    keys = set(re.findall(r"\b(?:DATA|MODEL|TRAIN|MONITOR|ROBUST)\.[A-Z][A-Z0-9_.]*[A-Z0-9]", text))
    known = set().union(*(recipe.keys for recipe in RECIPES.values()))
    groups = {key.rpartition(".")[0] for key in known}
    assert keys <= known | groups | foreign_keys.KEYS
    for package, extras in re.findall(r"\b(mae-\w+)\[([\w,]+)\]", text):
        assert set(extras.split(",")) <= read_packages()[package].extras.keys(), f"{package}[{extras}]"


def test_every_environment_variable_of_the_code_is_on_its_page() -> None:
    sources = [file.read_text(encoding="utf-8") for file in ROOT.glob("packages/*/src/**/*.py")]
    sources += [file.read_text(encoding="utf-8") for file in ROOT.glob("packages/*/setup.py")]
    read = {found for text in sources for found in re.findall(r"environ[^\n]*?[\"'](MAE_[A-Z_]+)[\"']", text)}
    assert len(read) > 3
    page = (ROOT / "packages/mae-core/README.md").read_text(encoding="utf-8")
    assert {variable for variable in read if f"`{variable}`" not in page} == set()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: pictures, and the runs that the pages speak of."""
    root = tmp_path_factory.mktemp("reader")
    write_pictures(root)
    before = os.getcwd()
    os.chdir(root)
    try:
        run_line("mae-data index pets")
        run_line("mae-pretrain -cfg vit_tiny_96_pretrain -data_path pets -batch_size 16 -output runs/pets")
        run_line("mae-finetune -cfg vit_tiny_96_finetune -data_path pets -pretrained runs/pets -batch_size 16 "
                 "-output runs/pets-tuned MODEL.NUM_CLASSES 3")  # fmt: skip
        run_line("mae-finetune export -pretrained runs/pets-tuned/best -output exported")
    finally:
        os.chdir(before)
    for copy, run in (("base", "pets"), ("photos", "pets"), ("grey", "pets"), ("tuned", "pets-tuned")):
        shutil.copytree(root / "runs" / run, root / "runs" / copy)
    return root


@pytest.mark.slow
@pytest.mark.xdist_group("documentation")
@pytest.mark.parametrize("page", RUN_PAGES, ids=name)
def test_the_blocks_of_a_page_run(page: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDED.get(page.stem, ()):
        pytest.importorskip(package, reason="its pictures cannot be written")
    if "mae-data[geo" in page.read_text(encoding="utf-8"):
        pytest.importorskip("rasterio", reason="extra geo of mae-data is not installed")
    reader = tmp_path / "reader"
    shutil.copytree(world, reader)
    lines = [
        line for block in blocks_of(page) if block.kind == "shell" and not block.not_run for line in block.commands()
    ]
    for made in re.findall(r"mae-data index (\w+)", "\n".join(lines)):  # what the page makes itself is not there yet
        for left in (reader / made).glob("*.txt"):
            left.unlink()
    for made in re.findall(r"^mae-\w+ -cfg.* -output (\S+)", "\n".join(lines), re.MULTILINE):
        shutil.rmtree(reader / made, ignore_errors=True)
    monkeypatch.chdir(reader)
    names: dict[str, object] = {}
    for block in blocks_of(page):
        if not block.not_run:
            run_block(block, names)


def run_block(block: Block, names: dict[str, object]) -> None:
    if block.kind == "shell":
        for line in block.commands():
            run_line(line)
        return
    text = block.text
    if import_module("paddle").__version__.startswith("2."):
        text = text.replace("inference.json", "inference.pdmodel")
    if "onnx" in text and importlib.util.find_spec("onnxruntime") is None:
        return
    exec(block.before, names)
    exec(compile(text, name(block.page), "exec"), names)


def run_line(line: str) -> None:
    """Run a command line in this process where it is one of ours, and by bash otherwise."""
    words = command_words(line)
    if words[0] not in MAINS:
        assert words[0] == "cat", line
        subprocess.run(["bash", "-c", line], check=True)
        return
    check_command(words)
    if "onnx" in words and importlib.util.find_spec("paddle2onnx") is None:
        return
    if words[0] in RECIPES and len(words) > 1 and parser_for(words).prog == words[0] and "-eval" not in words:
        words += SHORT if "-cfg" not in words else SHORT + SHALLOW
    assert import_module(MAINS[words[0]]).main(words[1:]) == 0, line
    gc.collect()  # a run gives its folder free when it is gone
    if "demo-dataset" in words:
        for file in Path(words[2]).glob("*_list.txt"):  # one of twenty is enough
            file.write_text("".join(file.read_text().splitlines(keepends=True)[::20]))
