"""The stages' command lines: flags, help, and the errors that all of them have."""

import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from stage_runs import FINETUNE, PRETRAIN, PROBE, ROOT, STAGES, Stage, assert_refused, assert_same, records

from mae_core.process.installation import pip_install

FLAGS = "cfg model dataset data_path batch_size batch_size_eval image_size accum_iter"
FLAGS += " output pretrained resume last_epoch eval amp"
COMMANDS = {
    PRETRAIN.package: ("", "refine", "distill", "visualize", "curve", "export", "report", "watch", "serve"),
    FINETUNE.package: ("", "predict", "export", "serve", "report", "watch"),
    PROBE.package: ("", "features", "knn", "logistic", "segment", "map", "attention", "report", "watch"),
}

every_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.package)


@pytest.mark.parametrize("package", COMMANDS)
def test_the_flag_set_is_pinned_in_both_spellings(package: str) -> None:
    actions = import_module(f"{package}.cli").make_parser()._actions
    names = FLAGS.split()
    names += ["anneal", "budget"] if package == PRETRAIN.package else []
    names += ["random_init", "no_cache", "block"] if package == PROBE.package else []
    expected = {f"-{n}" for n in names} | {f"--{n.replace('_', '-')}" for n in names}
    assert {s for action in actions for s in action.option_strings} == expected | {
        "-h", "--help", "--version", "--allow-drift", "--json", "--dry-run", "--help-config", "--completion",
    }  # fmt: skip


@pytest.mark.parametrize(("package", "command"), [(p, command) for p, all_ in COMMANDS.items() for command in all_])
def test_help_answers_without_paddle(package: str, command: str) -> None:
    code = (
        f"import sys; from {package}.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "assert 'paddle' not in sys.modules and 'matplotlib' not in sys.modules, 'heavy import'"
    )
    started = time.perf_counter()
    words = [sys.executable, "-c", code, *command.split(), "--help"]
    result = subprocess.run(words, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f"usage: {package.replace('_', '-')} {command}".strip() in result.stdout
    assert "-pretrained" not in result.stdout or "a file of any published format" in " ".join(result.stdout.split())
    assert time.perf_counter() - started < 5.0  # about 0.2 s on an idle machine


@pytest.mark.parametrize("package", COMMANDS)
def test_help_has_a_line_for_each_subcommand_and_names_the_packaged_configs(package: str, capsys) -> None:
    module = import_module(f"{package}.cli")
    assert module.main(["--help"]) == 0
    help_text = capsys.readouterr().out
    assert [*module.make_parser().commands] == [command for command in COMMANDS[package] if command]
    for command in module.make_parser().commands:
        assert re.search(rf"^    {command} +\S", help_text, re.MULTILINE)
    for config in (Path(module.__file__).parent / "configs").glob("*.yaml"):
        assert f"{config.stem}" in re.split(r"[,\s]+", help_text)


def test_overrides_follow_images_and_the_first_spelling_still_counts(tmp_path, monkeypatch) -> None:
    from mae_core.stage.cli.flags import split_pairs

    monkeypatch.chdir(tmp_path)
    Path("DATA.JPG").touch()
    for package, command in (("mae_pretrain", "visualize"), ("mae_finetune", "predict"), ("mae_probe", "attention")):
        parser = import_module(f"{package}.cli").make_parser().commands[command]
        recipe = import_module(f"{package}.config").RECIPE
        words = [
            "--set",
            "SEED",
            "1",
            "a.png",
            "-pretrained",
            "run",
            "IMG.JPG",
            "DATA.JPG",
            "AMP",
            "true",
            "TRAIN.X",
            "2",
        ]
        images, pairs = split_pairs(parser.parse_intermixed_args(words), recipe)
        assert images == ["a.png", "IMG.JPG", "DATA.JPG"]
        assert pairs == ["SEED", "1", "AMP", "true", "TRAIN.X", "2"]


@every_stage
def test_without_paddle_the_command_says_what_to_install(stage: Stage) -> None:
    code = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'paddle' else find(name, *a);"
        f"import {stage.package}.cli as m; raise SystemExit(m.main())"
    )
    result = subprocess.run([sys.executable, "-c", code, "-eval"], capture_output=True, text=True)
    assert_refused(result, 2, ["PaddlePaddle is not installed"])
    assert pip_install("mae-core", "cpu") in result.stderr


@every_stage
@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["-batch", "8"], 2, ["-batch", "--help"]),
        (["-cfg", "nowhere.yaml"], 2, ["nowhere.yaml", "vit_base_patch16_224_{kind}.yaml"]),
        (["DATA.BATCH_SIZE"], 2, ["DATA.BATCH_SIZE", "KEY VALUE"]),
        (["{tmp}", "--dry-run"], 2, ["perhaps -data_path {tmp}"]),
        (["repor", "{tmp}"], 2, ["'repor' is no command; nearest is report"]),
        (["-image_size", "225"], 2, ["225", "multiple of 16"]),
        (["-data_path", "/nowhere", "-output", "{tmp}/o", "DATA.CROP_SCALE", "[2,1]"], 2, ["DATA.CROP_SCALE=[2, 1]"]),
        (["-data_path", "/nowhere", "-output", "{tmp}/o"], 3, ["/nowhere: no such folder"]),
        (["-eval"], 2, ["-pretrained"]),
        (["-eval", "-pretrained", "/nowhere/x"], 4, ["/nowhere/x"]),
    ],
)
def test_user_errors_are_one_line(stage: Stage, tmp_path, args: list[str], code: int, words: list[str]) -> None:
    result = stage.start(*[a.format(tmp=tmp_path) for a in args])
    assert_refused(result, code, [word.format(kind=stage.kind, tmp=tmp_path) for word in words])


@every_stage
def test_heads_that_do_not_divide_the_width_are_refused(stage: Stage, data, tmp_path) -> None:
    result = stage.start("-data_path", data, "-output", tmp_path / "o", "MODEL.ENCODER.NUM_HEADS", 7)
    assert_refused(result, 2, ["768", "num_heads=7"])


@every_stage
def test_another_number_of_heads_is_refused(stage: Stage, data, pretrained, tmp_path) -> None:
    args = ["-pretrained", pretrained, "-data_path", data, "-output", tmp_path / "o", "-batch_size", 4]
    result = stage.start(*args, *stage.tiny, "MODEL.ENCODER.DEPTH", 2, "MODEL.ENCODER.NUM_HEADS", 4)
    assert_refused(result, 4, ["MODEL.ENCODER.NUM_HEADS is 2 in these weights, 4 was asked for"])


@every_stage
def test_paths_that_look_like_numbers_are_paths(stage: Stage, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    assert_refused(stage.start("-eval", "-pretrained", "2024", *stage.tiny), 4, ["2024 holds no weights"])


@pytest.mark.parametrize("package", ["mae_core", "mae_data", *COMMANDS])
def test_ctrl_c_while_a_command_is_imported_is_one_line(package: str) -> None:
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(name, *rest):\n"
        "        if name.endswith('.cli'): raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted)\n"
        f"from {package}.__main__ import main\n"
        "sys.exit(main())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "interrupted by Ctrl-C\n")
    name = package.replace("_", "-")
    assert f'\n{name} = "{package}.__main__:main"\n' in (ROOT / f"packages/{name}/pyproject.toml").read_text()


@every_stage
def test_a_start_of_python_gives_what_a_fork_does(stage: Stage, data, pretrained, tmp_path) -> None:
    """The other tests start commands by a fork of a process that has Paddle loaded."""
    weights = [] if stage is PRETRAIN else ["-pretrained", pretrained]
    args = [
        "-data_path",
        data,
        "-batch_size",
        8,
        *weights,
        *stage.tiny,
        "TRAIN.NUM_EPOCHS",
        1,
        "TRAIN.WARMUP_EPOCHS",
        0,
    ]
    honest = subprocess.run(
        stage.command(*args, "-output", tmp_path / "a"), capture_output=True, text=True, timeout=100
    )
    forked = stage.start(*args, "-output", tmp_path / "b")
    assert (honest.returncode, forked.returncode) == (0, 0), honest.stderr + forked.stderr
    assert_same(tmp_path / "a", tmp_path / "b")
    assert records(tmp_path / "a") == records(tmp_path / "b")
