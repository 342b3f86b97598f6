"""What the commands answer before anything runs: keys, schema, completion, versions, a dry run."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from stage_runs import FINETUNE, PRETRAIN, ROOT, STAGES, Stage

from mae_core.errors import ConfigError
from mae_core.stage.config import shared_keys
from mae_core.stage.config.help import help_lines, json_schema
from mae_core.stage.config.keys import Shared
from mae_core.stage.config.node import to_dict
from mae_core.stage.config.recipe import Recipe

PLACE = r"(paddlepaddle\S* \S+|no Paddle), (CPU, \d+ cores|\d+ GPUs?)"
every_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.package)


def recipe(stage: Stage) -> Recipe:
    return import_module(f"{stage.package}.config").RECIPE


@every_stage
def test_every_key_says_what_it_means(stage: Stage) -> None:
    keys = recipe(stage).keys
    assert [name for name, key in keys.items() if len(key.meaning) < 6] == []
    assert [name for name, key in keys.items() if key.meaning.startswith(("likewise", "as above"))] == []


@every_stage
def test_core_describes_shared_keys_and_states_no_value(stage: Stage, monkeypatch) -> None:
    """A release of mae-core that describes keys otherwise leaves every recipe as it is."""
    module, before = import_module(f"{stage.package}.config"), recipe(stage).keys
    other = {name: Shared("of another release") for name in shared_keys.SHARED}
    assert "default" not in Shared.__dataclass_fields__
    monkeypatch.setattr(shared_keys, "SHARED", other)
    try:
        after = importlib.reload(module).KEYS
    finally:
        monkeypatch.undo()
        importlib.reload(module)
    assert {name: key.default for name, key in after.items()} == {name: key.default for name, key in before.items()}
    taken = [name for name, key in after.items() if key.meaning == "of another release"]
    assert len(taken) > 40


def test_a_shared_key_is_described_in_no_stage() -> None:
    """What a stage adds to a shared key is another meaning, or the source of its value."""
    for name, shared in shared_keys.SHARED.items():
        users = [recipe(stage).keys[name] for stage in STAGES if name in recipe(stage).keys]
        assert len(users) > 1, name
        assert sum(key.meaning == shared.meaning for key in users) > 0, name
        for stage in STAGES:
            text = Path(import_module(f"{stage.package}.config").__file__).read_text()
            assert f'"{shared.meaning}"' not in text, name


def test_a_key_a_group_and_what_is_near() -> None:
    lines = help_lines(recipe(FINETUNE), "train.mixup_mode")
    assert lines[0] == "TRAIN.MIXUP_MODE = batch"
    assert lines[2] == "    takes batch or pair or elem"
    assert len(help_lines(recipe(FINETUNE), "MODEL.ENCODER")) == 9
    assert help_lines(recipe(FINETUNE), "SMOOTHING")[0].startswith("TRAIN.SMOOTHING")
    with pytest.raises(ConfigError, match=r"no config key TRAIN\.BASE_RL; nearest: TRAIN\.BASE_LR"):
        help_lines(recipe(FINETUNE), "TRAIN.BASE_RL")


@every_stage
def test_what_help_allows_is_what_the_config_takes(stage: Stage) -> None:
    """The limits that are printed are those that are checked."""
    for name, key in recipe(stage).keys.items():
        refused = []
        if key.choices:
            refused.append("nothing of the kind")
        if key.positive and not isinstance(key.default, list):
            refused.append("0")
        if key.range and not isinstance(key.default, list | tuple):
            refused.append(str(key.range[0] - 1))
        for value in refused:
            with pytest.raises(ConfigError):
                recipe(stage).load(pairs=[name, value])


@every_stage
def test_the_schema_takes_the_packaged_files_and_the_defaults(stage: Stage) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="no validator is installed")
    import yaml

    schema = json.loads(json_schema(recipe(stage)))
    folder = Path(import_module(stage.package).__file__).parent / "configs"
    for file in sorted(folder.glob("*.yaml")):
        jsonschema.validate(yaml.safe_load(file.read_text()), schema)
    jsonschema.validate(to_dict(recipe(stage).defaults), schema)
    for wrong in ({"DATA": {"BATCH_SIZE": 0}}, {"DATA": {"BATCH": 8}}, {"AMP_DTYPE": "int8"}, {"SEED": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@every_stage
def test_bare_commands_print_help_and_versions_are_alike(stage: Stage) -> None:
    command = stage.package.replace("_", "-")
    bare = stage.start()
    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout.startswith(f"usage: {command}")
    version = stage.start("--version").stdout
    assert re.fullmatch(rf"{command} \S+ \(mae-core \S+, {PLACE}\)\n", version)


@pytest.mark.parametrize("package", ["mae_core", "mae_data"])
def test_the_two_other_commands_answer_alike(package: str) -> None:
    def start(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", package, *words], capture_output=True, text=True)

    command = package.replace("_", "-")
    assert start().stdout.startswith(f"usage: {command}")
    said = start("--version").stdout
    assert re.fullmatch(rf"{command} \S+ \({PLACE}\)\n", said)


def test_importing_paddle_through_the_package_says_nothing() -> None:
    code = "import mae_core; mae_core.build_model"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"}
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def completed(script: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of some words."""
    function = "_shtab_" + words[0].replace("-", "_")
    asked = f'COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; {function}; echo "${{COMPREPLY[@]}}"'
    quiet = "compopt() { :; }"  # which bash offers while a person completes only
    done = subprocess.run(
        ["bash", "-c", f"{quiet}; source {script}; {asked}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


COMPLETIONS = [
    ("mae-pretrain vis", "visualize"),
    ("mae-pretrain visualize --mask", "--mask-ratio"),
    ("mae-pretrain -batch", "-batch_size"),
    ("mae-pretrain TRAIN.BA", "TRAIN.BASE_LR"),
    ("mae-pretrain -cfg x TRAIN.NUM_EPOCHS 3 TRAIN.BA", "TRAIN.BASE_LR"),
    ("mae-pretrain export --format on", "onnx"),
    ("mae-pretrain export --format onnx MODEL.MASK", "MODEL.MASK_RATIO"),
    ("mae-pretrain -cfg READ", "README.md"),
    ("mae-pretrain visualize README.md CITA", "CITATION.cff"),
    ("mae-data ver", "verify"),
    ("mae-data index --val", "--val-fraction"),
    ("mae-data verify --list READ", "README.md"),
]


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize("command", ["mae-pretrain", "mae-data"])
def test_completion_knows_subcommands_flags_values_files_and_keys(command: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    start = [sys.executable, "-m", command.replace("-", "_"), "--completion"]
    zsh = subprocess.check_output([*start, "zsh"], text=True)
    assert zsh.startswith(f"#compdef {command}\n")
    assert ("compadd -- " in zsh and " TRAIN.BASE_LR " in zsh) == (command == "mae-pretrain")
    (tmp_path / "script").write_bytes(subprocess.check_output([*start, "bash"]))
    for words, expected in COMPLETIONS:
        if words.startswith(command):
            assert expected in completed(tmp_path / "script", *words.split())


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
@pytest.mark.parametrize("command", ["mae-pretrain", "mae-data"])
def test_zsh_takes_the_script(command: str) -> None:
    script = subprocess.check_output(
        [sys.executable, "-m", command.replace("-", "_"), "--completion", "zsh"], text=True
    )
    program = f"autoload -Uz compinit && compinit -D -u; eval $0; print $_comps[{command}]"
    done = subprocess.run(["zsh", "-f", "-c", program, script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"_shtab_{command.replace('-', '_')}\n"


def test_image_sizes_of_two_sides(tmp_path) -> None:
    from mae_core.process.command_line import image_size

    assert image_size("224") == 224
    assert image_size("64x96") == [64, 96]
    refused = PRETRAIN.start("-image_size", "64y96")
    assert refused.returncode == 2
    assert "HEIGHTxWIDTH" in refused.stderr


def test_a_dry_run_says_it_all_and_writes_nothing(data, tmp_path) -> None:
    args = ["-data_path", data, *PRETRAIN.tiny, "-batch_size", 8, "--dry-run"]
    result = subprocess.run(PRETRAIN.command(*args), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []
    for words in (
        "MASK_RATIO: 0.75",
        f"data: 26 training images below {data}",
        "output: runs/pretrain-001",
        "steps: 9 of 8 images, 3 per epoch, 3 epochs; learning rate 4.69e-06 at its highest",
        "measured ones",
        "MB at most so far, measured",
        "nothing was written",
    ):
        assert words in result.stdout
    large = ["DATA.BATCH_SIZE", 26, "MODEL.ENCODER.EMBED_DIM", 2048, "MODEL.ENCODER.DEPTH", 48, "DATA.IMAGE_SIZE", 192]
    # Too large to be tried is told from the model's sizes; the model itself is small here.
    from mae_core.stage.run.dry_run import estimate

    assert estimate(recipe(PRETRAIN).load(pairs=[str(word) for word in [*PRETRAIN.tiny, *large]]), "cpu").seconds > 20


def test_memory_that_holds_files_is_free_to_measure_in(monkeypatch) -> None:
    import os

    from mae_core.stage.run import dry_run

    monkeypatch.setattr(os, "sysconf", lambda name: 1)  # pages that hold nothing at all
    assert dry_run._can_be_measured(dry_run.Estimate(0.1, 2**20, 1, 1), on_gpu=False)
    assert not dry_run._can_be_measured(dry_run.Estimate(0.1, 2**60, 1, 1), on_gpu=False)


def test_estimates_are_those_of_the_cost_module(monkeypatch) -> None:
    from mae_core.stage.run.dry_run import estimate

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    base = estimate(recipe(PRETRAIN).load("vit_base_patch16_224_pretrain"), "cpu")
    assert base.parameters == 111_907_840
    half = estimate(recipe(PRETRAIN).load("vit_base_patch16_224_pretrain", pairs=["DATA.BATCH_SIZE", "128"]), "cpu")
    assert half.seconds == pytest.approx(base.seconds / 2)
    assert half.memory < base.memory
    monkeypatch.setenv("OMP_NUM_THREADS", "8,1")  # eight threads, one in each of them
    config = recipe(PRETRAIN).load("vit_base_patch16_224_pretrain")
    assert estimate(config, "cpu").seconds == pytest.approx(base.seconds / 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tiny = recipe(PRETRAIN).load("vit_tiny_96_pretrain")
    assert 1.28 / 1.5 < estimate(tiny, "cpu").seconds < 1.28 * 1.5  # measured: one core of an AMD EPYC
