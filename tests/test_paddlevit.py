"""What PaddleViT's users type: scripts, flags, keys of all three stages in one file, `get_config`."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from stage_runs import FINETUNE, PRETRAIN, PROBE, ROOT, STAGES, Stage

from mae_core.errors import ConfigError

SCRIPTS = ROOT / "tools/paddlevit"
# The keys of its config that not all stages have here, with its defaults.
DEFAULTS = """
BASE: ['']
MODEL: {NUM_CLASSES: 1000, DROPOUT: 0.0, ATTENTION_DROPOUT: 0.0, MASK_RATIO: 0.75, NORM_PIX_LOSS: true,
  DECODER: {DEPTH: 8, EMBED_DIM: 512, NUM_HEADS: 16}}
DATA: {BATCH_SIZE_EVAL: 256}
TRAIN: {LAST_EPOCH: 0, COLOR_JITTER: 0.4, AUTO_AUGMENT: false, RAND_AUGMENT: true, RAND_AUGMENT_LAYERS: 2,
  RAND_AUGMENT_MAGNITUDE: 9, SMOOTHING: 0.1, MIXUP_ALPHA: 0.8, MIXUP_MODE: batch, CUTMIX_MINMAX: null,
  RANDOM_ERASE_PROB: 0.25, LAYER_DECAY: null, OPTIMIZER: {EPS: 1.0e-8}}
VALIDATE_FREQ: 1
"""
every_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.package)


def recipe(stage: Stage):
    return import_module(f"{stage.package}.config").RECIPE


@every_stage
def test_keys_of_all_stages_may_stand_in_one_file(stage: Stage, tmp_path) -> None:
    (tmp_path / "all.yaml").write_text(DEFAULTS)
    said: list[str] = []
    recipe(stage).finish(recipe(stage).merge(str(tmp_path / "all.yaml"), {}, say=said.append).config)
    (line,) = said
    assert line.startswith(f"{tmp_path}/all.yaml: without effect in this stage: ")
    left_out = line.split(": ")[2].split(", ")
    assert {"TRAIN.COLOR_JITTER", "TRAIN.LAST_EPOCH", "MODEL.DROPOUT"} <= set(left_out)
    assert ("TRAIN.SMOOTHING" in left_out) == (stage is not FINETUNE)
    assert ("MODEL.DECODER.DEPTH" in left_out) == (stage is not PRETRAIN)


@every_stage
@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("TRAIN.LAST_EPOCH", "12", "-resume RUN_FOLDER"),
        ("TRAIN.AUTO_AUGMENT", "True", "RAND_AUGMENT"),
        ("MODEL.DROPOUT", "0.1", "DROPPATH"),
        ("TRAIN.SMOTHING", "0.1", "not known"),
    ],
)
def test_what_would_change_the_training_is_refused(stage: Stage, key: str, value: str, advice: str) -> None:
    if stage is PROBE and key == "MODEL.DROPOUT":
        recipe(stage).load(pairs=[key, value])  # without effect on a frozen encoder
        return
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")) as error:
        recipe(stage).load(pairs=[key, value])
    assert advice in str(error.value)


@every_stage
def test_its_flags_are_taken(stage: Stage) -> None:
    flags = {"DATA.BATCH_SIZE_EVAL": 64, "TRAIN.LAST_EPOCH": 0}
    config = recipe(stage).load(None, flags)
    assert config.DATA.get("BATCH_SIZE_EVAL", 64) == 64
    refused = stage.start("-last_epoch=3", "-batch_size_eval=8")
    assert (refused.returncode, "-resume RUN_FOLDER" in refused.stderr) == (2, True)


def test_the_scripts_forward(data, tmp_path) -> None:
    words = ["-data_path", data, *PRETRAIN.tiny, "-batch_size", 8, "-last_epoch=0", "TRAIN.NUM_EPOCHS", 1]
    words += ["TRAIN.WARMUP_EPOCHS", 0, "-output", tmp_path / "run"]
    script = [sys.executable, SCRIPTS / "main_multi_gpu_pretrain.py"]
    run = subprocess.run([*map(str, [*script, *words])], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "run/checkpoints/step_00000003").is_dir()
    for kind, command in (("finetune", "mae-finetune"), ("linearprobe", "mae-probe")):
        script = [sys.executable, str(SCRIPTS / f"main_multi_gpu_{kind}.py"), "--help"]
        assert subprocess.run(script, capture_output=True, text=True).stdout.startswith(f"usage: {command}")


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("run_*.sh")))
def test_the_shell_scripts_find_their_config(script: str, tmp_path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        ["sh", str(SCRIPTS / script), f"-data_path={tmp_path}"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    # All was found but the data, or before them the weights that the later stages start from.
    missing = (3, "no images for training") if "pretrain" in script else (4, "mae_pretrain_vit_base: no such file")
    assert (result.returncode, missing[1] in result.stderr) == (missing[0], True), result.stderr


def test_ranks_are_launched_where_several_gpus_are_there(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    launch = import_module("launch_ranks")
    assert launch.gpus({}, 2) == ["0", "1"]
    assert launch.gpus({"CUDA_VISIBLE_DEVICES": "3,5"}, 8) == ["3", "5"]
    assert launch.gpus({"CUDA_VISIBLE_DEVICES": ""}, 8) == []
    started: list[list[str]] = []
    monkeypatch.setattr(launch.os, "execv", lambda program, words: started.append(words))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.delenv("PADDLE_TRAINER_ID", raising=False)
    launch.launch_unless_launched("main.py", ["-amp"])
    assert started[0][1:4] == ["-m", "paddle.distributed.launch", "--gpus=3,5"]
    assert started[0][4:] == [os.path.abspath("main.py"), "-amp"]
    launch.launch_unless_launched("main.py", ["-eval"])
    monkeypatch.setenv("PADDLE_TRAINER_ID", "0")
    launch.launch_unless_launched("main.py", ["-amp"])
    assert len(started) == 1


def test_get_config_gives_the_config_of_the_files_stage() -> None:
    code = (
        "from config import get_config\n"
        "c = get_config(); print(c.MODEL.TYPE, c.MODEL.MASK_RATIO)\n"
        "c = get_config('./configs/vit_base_patch16_224_finetune.yaml'); print(c.MODEL.TYPE, c.TRAIN.LAYER_DECAY)\n"
        "c.DATA.BATCH_SIZE = 7; print(c.DATA.BATCH_SIZE)\n"
        "print(get_config('vit_large_patch16_224_linearprobe').MODEL.ENCODER.DEPTH)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True)
    assert result.stdout.split() == ["PRETRAIN", "0.75", "FINETUNE", "0.65", "7", "24"], result.stderr
