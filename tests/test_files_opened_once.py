"""Each file of a run that a command needs is verified once and read once; the optimizer's is for resuming alone."""

from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stage_runs import FINETUNE, PRETRAIN, PROBE, Stage

from mae_core.weights import checkpoint_folder, checkpoint_state, sources
from mae_core.weights.formats import safetensors_file, shards

SHORT = ["TRAIN.NUM_EPOCHS", 1, "TRAIN.WARMUP_EPOCHS", 0, "DATA.NUM_WORKERS", 0, "-batch_size", 8]
STATE, MODEL, EMA, OPTIMIZER = "state.json", "model.safetensors", "ema.safetensors", "optimizer.safetensors"
STAGES = (PRETRAIN, FINETUNE, PROBE)
Passes = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> dict[str, Path]:
    """A run of each stage; that of fine-tuning averages its weights."""
    home = tmp_path_factory.mktemp("runs")
    for stage in STAGES:
        average = ["TRAIN.EMA", 0.9] if stage is FINETUNE else []
        result = stage.start("-data_path", data, "-output", home / stage.package, *stage.tiny, *SHORT, *average)
        assert result.returncode == 0, result.stderr
    return {stage.package: home / stage.package for stage in STAGES}


@pytest.fixture
def passes(monkeypatch) -> Passes:
    """Count, by file, how often it is verified and how often it is read."""
    counts = {"verified": Counter(), "read": Counter()}
    sums, read, decode = checkpoint_folder.sha256, safetensors_file.read_safetensors, checkpoint_state.decode_record

    def counted_sha256(file: Path) -> str:
        counts["verified"][file.name] += 1
        return sums(file)

    def counted_read(file: Path):
        counts["read"][file.name] += 1
        return read(file)

    def counted_decode(data: bytes):
        counts["read"][STATE] += 1
        return decode(data)

    for module in (checkpoint_folder, shards):
        monkeypatch.setattr(module, "sha256", counted_sha256)
    monkeypatch.setattr(checkpoint_state, "decode_record", counted_decode)
    from mae_core.training.checkpoints import checkpoint

    for module in (sources, checkpoint_folder, checkpoint):
        monkeypatch.setattr(module, "read_safetensors", counted_read)
    return counts


def weights_once(file: str) -> Passes:
    return {"verified": {file: 1}, "read": {STATE: 1, file: 1}}


def run_here(stage: Stage, *words: object) -> None:
    """Run a command in this process, where the passes are counted."""
    assert import_module(f"{stage.package}.cli").main([str(word) for word in words]) == 0


@pytest.mark.parametrize(
    ("stage", "words", "file"),
    [
        (PRETRAIN, ["-eval"], MODEL),
        (FINETUNE, ["-eval"], EMA),
        (PROBE, ["-eval"], MODEL),
        (PRETRAIN, ["visualize", "{image}"], MODEL),
        (FINETUNE, ["predict", "{image}"], EMA),
        (PRETRAIN, ["export"], MODEL),
        (FINETUNE, ["export"], EMA),
        (PROBE, ["features"], MODEL),
        (PROBE, ["knn", "--k", "1"], MODEL),
        (PROBE, ["attention", "{image}"], MODEL),
    ],
    ids=lambda value: value.package if isinstance(value, Stage) else None,
)
def test_a_command_on_a_run_s_weights(stage: Stage, words, file, runs, passes, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save("a.png")
    words = [word.format(image="a.png") for word in words]
    run_here(stage, *words, "-pretrained", runs[stage.package])
    assert passes == weights_once(file)


@pytest.mark.parametrize("stage", [FINETUNE, PROBE], ids=lambda stage: stage.package)
def test_a_run_that_starts_from_another_s_weights(stage: Stage, data, runs, passes, tmp_path) -> None:
    run_here(stage, "-pretrained", runs["mae_pretrain"], "-data_path", data, "-output", tmp_path / "run", *SHORT)
    assert passes == weights_once(MODEL)


def test_a_teacher(data, runs, passes, tmp_path) -> None:
    flags = ["-pretrained", runs["mae_pretrain"], "-data_path", data, "-output", tmp_path / "run"]
    run_here(PRETRAIN, "distill", *flags, *PRETRAIN.tiny, *SHORT)
    assert passes == weights_once(MODEL)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.package)
def test_a_run_that_goes_on(stage: Stage, runs, passes) -> None:
    run_here(stage, "-resume", runs[stage.package])
    files = [MODEL, OPTIMIZER, *([EMA] if stage is FINETUNE else [])]
    assert passes == {"verified": dict.fromkeys(files, 1), "read": dict.fromkeys([STATE, *files], 1)}


def test_a_page_that_serves_a_run(runs, passes) -> None:
    from mae_pretrain.web.served_model import ServedModel

    ServedModel.load(runs["mae_finetune"])
    assert passes == weights_once(EMA)
