"""How a start comes to its config: each file read once, models by name, and runs of versions that had more keys."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from stage_runs import FINETUNE, PRETRAIN, PROBE, STAGES, Stage, assert_refused, assert_same

from mae_core.errors import CheckpointError, ConfigError
from mae_core.stage.config import yaml_file
from mae_core.stage.config.from_call import config_of_call
from mae_core.stage.config.from_weights import load_config
from mae_core.stage.config.merge import Merge
from mae_core.stage.config.node import Config, Tree, flatten, nest, plain, update
from mae_core.stage.config.recipe import Recipe
from mae_core.weights.checkpoint_state import encode_record

every_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.package)
# What configs of older versions hold beside the keys of now, at the only value that had an effect.
DROPPED = {
    "PRETRAIN": {"DATA": {"DATASET": "imagenet2012"}},
    "FINETUNE": {
        "DATA": {"DATASET": "imagenet2012"},
        "MODEL": {"DROPOUT": 0.0, "ATTENTION_DROPOUT": 0.0},
        "TRAIN": {"RANDOM_ERASE_MODE": "pixel", "RANDOM_ERASE_SPLIT": False, "CUTMIX_MINMAX": None},
    },
    "LINEARPROBE": {
        "DATA": {"DATASET": "imagenet2012"},
        "MODEL": {"DROPOUT": 0.0, "ATTENTION_DROPOUT": 0.0, "DROPPATH": 0.3},
    },
}


def recipe(stage: Stage) -> Recipe:
    return import_module(f"{stage.package}.config").RECIPE


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A small pre-training run."""
    folder = tmp_path_factory.mktemp("home") / "run"
    done = PRETRAIN.start("-data_path", data, "-output", folder, "-batch_size", 8, *PRETRAIN.tiny)
    assert done.returncode == 0, done.stderr
    assert "vit_width16_depth1_heads2_patch4_16: " in done.stdout
    return folder


def in_command(stage: Stage, cfg: str, run: Path) -> Config:
    return load_config(recipe(stage), cfg, {"MODEL.PRETRAINED": str(run)}, say=lambda line: None).config


def in_call(stage: Stage, cfg: str, run: Path) -> Config:
    return config_of_call(recipe(stage), cfg, pretrained=run, epochs=8).config


@every_stage
@pytest.mark.parametrize("start", [in_command, in_call])
def test_a_start_reads_each_file_once_and_merges_once(
    stage: Stage, start: Callable, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base.yaml").write_text("SEED: 3\nTRAIN: {NUM_EPOCHS: 80, WARMUP_EPOCHS: 10}\n")
    (tmp_path / "own.yaml").write_text("BASE: base.yaml\nSAVE: out\n")
    reads, merges = [], []
    read, layers = yaml_file.read_yaml, Merge.layers
    monkeypatch.setattr(yaml_file, "read_yaml", lambda path: reads.append(path.name) or read(path))
    monkeypatch.setattr(Merge, "layers", lambda self, files: merges.append(files) or layers(self, files))
    config = start(stage, str(tmp_path / "own.yaml"), run)
    assert (reads, len(merges)) == (["own.yaml", "base.yaml"], 1)
    assert (config.SEED, config.SAVE, config.MODEL.ENCODER.EMBED_DIM) == (3, "out", 16)
    assert ((8, 1) if start is in_call else (80, 10)) == (config.TRAIN.NUM_EPOCHS, config.TRAIN.WARMUP_EPOCHS)


def test_a_call_keeps_the_size_of_the_run_as_a_command_does(run: Path, data: Path) -> None:
    for start in (in_command, in_call):
        config = start(FINETUNE, "vit_tiny_96_finetune", run)
        assert (config.MODEL.ENCODER.EMBED_DIM, config.MODEL.PATCH_SIZE, config.DATA.IMAGE_SIZE) == (16, 4, 16)
    with pytest.raises(CheckpointError, match=r"MODEL\.PATCH_SIZE is 4 in these weights, 8 was asked for"):
        config_of_call(recipe(FINETUNE), "vit_tiny_96_finetune", {"MODEL.PATCH_SIZE": 8}, pretrained=run)


def encoding(cfg: str, *pairs: str) -> tuple[Config, str]:
    """Return the config of a command that encodes, and what it said."""
    said: list[str] = []
    return load_config(recipe(PROBE), cfg, {}, pairs, whole=True, say=said.append).config, "\n".join(said)


def test_encoding_takes_the_recipe_of_another_stage_by_its_name() -> None:
    config, said = encoding("vit_tiny_96_pretrain")
    assert (config.MODEL.ENCODER.EMBED_DIM, config.MODEL.PATCH_SIZE, config.DATA.IMAGE_SIZE) == (192, 8, 96)
    assert "vit_tiny_96_pretrain.yaml is a config of another stage (PRETRAIN): it lends DATA.IMAGE_SIZE" in said
    assert "of another stage (REFINE)" in encoding("vit_tiny_28_refine")[1]
    with pytest.raises(ConfigError, match="does not exist; nearest is vit_tiny_96_pretrain; give a YAML file or one"):
        encoding("vit_tiny_96_pretrian")


def test_encoding_passes_over_all_that_belongs_to_pretraining(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"  # of no MODEL.TYPE, so that every key is read
    own.write_text("MODEL: {PATCH_SIZE: 8, DECODER: {KIND: cross}}\nMONITOR: {EVERY: 1, PICTURES: 4}\n")
    config, said = encoding(str(own))
    assert config.MODEL.PATCH_SIZE == 8
    assert said.endswith("without effect in this stage: MODEL.DECODER.KIND, MONITOR.EVERY, MONITOR.PICTURES")
    for text, words in (
        ("MONITOR: {EVERI: 1, PICTURES: 4}", r"own\.yaml: key MONITOR\.EVERI is not known; nearest is MONITOR\.EVERY"),
        ("MODEL: {DECODER: {KIN: full}}", r"key MODEL\.DECODER\.KIN is not known; nearest is MODEL\.DECODER\.KIND"),
        ("MONITOR: 1", "key MONITOR is not known"),
        ("MONITER: {EVERY: 1}", "key MONITER is not known"),
    ):
        own.write_text(text)
        with pytest.raises(ConfigError, match=words):
            encoding(str(own))
    own.write_text("MONITOR: {EVERY: 1}")
    with pytest.raises(ConfigError, match="command line: key MONITOR is not known"):
        encoding(str(own), "MONITOR.EVERY", "1")
    with pytest.raises(ConfigError, match="key MONITOR is not known"):
        load_config(recipe(PROBE), str(own), {})


def test_all_keys_of_pretraining_are_passed_over(tmp_path: Path) -> None:
    keys = recipe(PRETRAIN).keys
    tree: Tree = {}
    for name, key in keys.items():
        if name not in ("MODEL.TYPE", "MODEL.PRETRAINED", "MODEL.RESUME") and name not in recipe(PROBE).keys:
            update(tree, nest(name, plain(key.default)))
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(tree))
    _, said = encoding(str(tmp_path / "all.yaml"))
    assert set(said.split(": ")[-1].split(", ")) == set(flatten(tree)) > {"MONITOR.EVERY", "MODEL.MASK_RATIO"}


@pytest.mark.parametrize(
    ("pairs", "name"),
    [
        ("", "vit_base_patch16_224"),
        ("MODEL.ENCODER.EMBED_DIM 32", "vit_width32_depth12_heads12_patch16_224"),
        ("MODEL.NAME vit_base_patch16_224 DATA.IMAGE_SIZE 32", "vit_base_patch16_32"),
        ("MODEL.NAME mae_vit_base_patch16", "mae_vit_base_patch16"),
        ("MODEL.NAME vit_base_patch1", "vit_base_patch16_224"),
        ("MODEL.MLP_RATIO 2.0 MODEL.QKV_BIAS False", "vit_width768_depth12_heads12_mlp2_nobias_patch16_224"),
        ("MODEL.NAME ViT-Large", "vit_base_patch16_224"),
        ("MODEL.NAME mine MODEL.ENCODER.DEPTH 3", "mine"),
        ("DATA.IMAGE_SIZE [32,64]", "vit_base_patch16_32x64"),
    ],
)
def test_a_name_is_that_of_the_sizes(pairs: str, name: str) -> None:
    assert name == recipe(PRETRAIN).load(pairs=pairs.split()).MODEL.NAME


def test_the_packaged_files_make_the_models_that_they_are_named_after() -> None:
    for stage in STAGES:
        for file in sorted((Path(import_module(stage.package).__file__).parent / "configs").glob("vit_*224*.yaml")):
            assert file.name.startswith(f"{recipe(stage).load(str(file)).MODEL.NAME}_")


@every_stage
def test_a_model_is_chosen_by_name(stage: Stage, data: Path, run: Path, tmp_path: Path) -> None:
    words = ["-model", "vit_tiny_patch16", "-data_path", data, "-image_size", 32, "-batch_size", 8, "--dry-run"]
    shown = stage.start(*words, "MODEL.ENCODER.DEPTH", 1, *(["MODEL.NUM_CLASSES", 3] if stage != PRETRAIN else []))
    assert shown.returncode == 0, shown.stderr
    assert "NAME: vit_width192_depth1_heads3_patch16_32\n" in shown.stdout  # the pair made another model of it
    assert "ENCODER: {EMBED_DIM: 192, DEPTH: 1, NUM_HEADS: 3}" in shown.stdout
    refused = stage.start(*words, "-pretrained", run)
    assert_refused(refused, 4, [f"{run} does not fit vit_tiny_patch16: ", "MODEL.ENCODER.DEPTH is 1 in these weights"])
    assert_refused(stage.start("-model", "vit_tine"), 2, ["model 'vit_tine' is not known", "vit_tiny_patch16"])


def test_weights_give_a_label_on_and_no_name_of_a_network(run: Path, tmp_path: Path) -> None:
    for stated, name in (("mine", "mine"), ("vit_base_patch16_224", "vit_width16_depth1_heads2_patch4_16")):
        older = aged(run, tmp_path / stated, {"MODEL": {"NAME": stated}})
        said: list[str] = []
        config = load_config(recipe(FINETUNE), None, {"MODEL.PRETRAINED": str(older)}, say=said.append).config
        assert name == config.MODEL.NAME
        assert "vit_base" not in "".join(said).replace(str(older), "")
    with pytest.raises(CheckpointError, match=r"does not fit vit_small_patch16: MODEL\.ENCODER\.DEPTH is 1"):
        config_of_call(recipe(FINETUNE), model="vit_small_patch16", pretrained=run)


def aged(run: Path, copy: Path, more: dict) -> Path:
    """Copy a run, with more keys in its configs."""
    shutil.copytree(run, copy)
    for state in copy.glob("checkpoints/*/state.json"):
        record = json.loads(state.read_text())
        for group, values in more.items():
            record["config"][group].update(values)
        state.write_bytes(encode_record(record))
        (copy / "config.yaml").write_text(yaml.safe_dump(record["config"]))
    return copy


@every_stage
def test_runs_of_older_versions_go_on_and_lend_their_weights(
    stage: Stage, data: Path, run: Path, tmp_path: Path
) -> None:
    now = tmp_path / "now"
    words = ["-data_path", data, "-batch_size", 8, *stage.tiny, "SAVE_FREQ", 1]
    done = stage.start("-output", now, *words)
    assert done.returncode == 0, done.stderr
    older = aged(now, tmp_path / "older", DROPPED[recipe(stage).stage])
    for copy in (now, older):
        resumed = stage.start("-resume", copy, "TRAIN.NUM_EPOCHS", 4)
        assert resumed.returncode == 0, resumed.stderr
    assert_same(now, older)
    config = yaml.safe_load((older / "config.yaml").read_text())
    assert "DATASET" not in config["DATA"]
    aged(now, again := tmp_path / "again", DROPPED[recipe(stage).stage])
    assert stage.start("-eval", "-pretrained", again, "-output", tmp_path / "scores").returncode == 0
    started = FINETUNE.start("-pretrained", again, "-data_path", data, "-batch_size", 8, "--dry-run")
    assert started.returncode == 0, started.stderr
    said: list[str] = []
    recipe(stage).finish(recipe(stage).merge(str(again / "config.yaml"), {}, say=said.append).config)
    (line,) = said
    for group, values in DROPPED[recipe(stage).stage].items():
        for key in values:
            assert f"{group}.{key}" in line
            assert f"{group}.{key}" not in recipe(stage).keys


@pytest.mark.parametrize(
    ("stage", "key", "value"),
    [
        (PRETRAIN, "DATA.DATASET", "cifar"),
        (FINETUNE, "MODEL.ATTENTION_DROPOUT", "0.1"),
        (FINETUNE, "TRAIN.RANDOM_ERASE_SPLIT", "True"),
    ],
)
def test_values_that_would_have_had_an_effect_are_refused(stage: Stage, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"command line: {key}=.* cannot be taken: "):
        recipe(stage).load(pairs=[key, value])
