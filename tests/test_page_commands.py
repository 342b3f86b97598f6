"""The commands that pages print do what the page says, whatever made the run: a recipe, a YAML file, Python."""

from __future__ import annotations

import html
import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from stage_runs import FINETUNE, PRETRAIN, PROBE, Stage, data, scores

from mae_core.report.run_files import read_run
from mae_core.stage.classifier_report import _logistic_command

pytest.importorskip("jinja2", reason="the report extra is not installed")
pytest.importorskip("matplotlib", reason="the report extra is not installed")

__all__ = ["data"]
SHORT = {"TRAIN.NUM_EPOCHS": 1, "TRAIN.WARMUP_EPOCHS": 0, "DATA.BATCH_SIZE": 8, "DATA.NUM_WORKERS": 0}


def command(stage: Stage, *words: object) -> None:
    assert import_module(f"{stage.package}.cli").main(list(map(str, words))) == 0


def by_recipe(stage: Stage, folder: str, data: Path) -> None:
    settings = SHORT | ({} if stage is PRETRAIN else {"MODEL.NUM_CLASSES": 3})
    pairs = [word for pair in settings.items() for word in pair]
    command(stage, "-cfg", f"vit_digits_32_{stage.kind}", "-data_path", data, "-output", folder, *pairs)


def by_yaml(stage: Stage, folder: str, data: Path) -> None:
    config: dict[str, dict[str, object]] = {
        "DATA": {"DATA_PATH": str(data), "IMAGE_SIZE": 24},
        "MODEL": {},
        "TRAIN": {},
    }
    for key, value in SHORT.items():
        config[key.split(".")[0]][key.split(".")[1]] = value
    config["MODEL"] |= {"PATCH_SIZE": 8, "ENCODER": {"EMBED_DIM": 16, "DEPTH": 1, "NUM_HEADS": 2}}
    config["MODEL"] |= {} if stage is PRETRAIN else {"NUM_CLASSES": 3}
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    command(stage, "-cfg", "mine.yaml", "-output", folder)


def from_python(stage: Stage, folder: str, data: Path) -> None:
    settings = {"MODEL.ENCODER.DEPTH": 1, **({"MODEL.DECODER.DEPTH": 1} if stage is PRETRAIN else {}), **SHORT}
    train = getattr(import_module(stage.package), stage.package.removeprefix("mae_"))
    model = "mae_vit_tiny_patch16" if stage is PRETRAIN else "vit_tiny_patch16"
    train(data, output=folder, model=model, image_size=32, settings=settings)


@pytest.mark.parametrize("make", [by_recipe, by_yaml, from_python])
@pytest.mark.parametrize("stage", [PRETRAIN, FINETUNE, PROBE], ids=lambda stage: stage.package)
def test_the_page_prints_the_command_that_scores_the_run(stage, make, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = "runs/that's it"
    make(stage, folder, data)
    assert not Path(folder, "eval").exists()
    printed = printed_commands(stage, folder)
    assert len(printed) == 1
    program, *words = shlex.split(printed[0])
    assert program == stage.package.replace("_", "-")
    command(stage, *words)
    assert scores(Path(folder))["images"] == 7
    assert printed_commands(stage, folder) == []
    promised = "mean image" if stage is PRETRAIN else "Which class is taken for which"
    assert promised in Path(folder, "report.html").read_text()


def printed_commands(stage: Stage, folder: str) -> list[str]:
    """Return the commands of a page that is made now."""
    command(stage, "report", folder)
    page = Path(folder, "report.html").read_text()
    return [html.unescape(c) for c in re.findall(r'<pre class="command">([^<]+)</pre>', page)]


def noise(folder: Path) -> Path:
    """Write images without a pattern: whatever reads them otherwise has another accuracy."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 20, 30, 3), dtype=np.uint8)
    for part, start, end in (("train", 0, 50), ("val", 50, 90)):
        (folder / part).mkdir(parents=True)
        for i in range(start, end):
            Image.fromarray(pixels[i]).save(folder / part / f"{i}.png")
        (folder / f"{part}.txt").write_text("".join(f"{part}/{i}.png {i % 3}\n" for i in range(start, end)))
    return folder


@pytest.mark.parametrize("kind", ["features", "random_init"])
def test_logistic_regression_gives_the_figure_of_the_page(kind, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    lists = ["-data_path", noise(tmp_path / "data"), "DATA.TRAIN_LIST", "train.txt", "DATA.VAL_LIST", "val.txt"]
    words = [*lists, "-batch_size", 8, *(word for word in FINETUNE.tiny), *(w for pair in SHORT.items() for w in pair)]
    words += ["-image_size", "16x24", "DATA.CROP_PCT", 0.7]
    if kind == "features":
        command(PRETRAIN, *lists, "-batch_size", 8, *PRETRAIN.tiny, "MODEL.ENCODER.DEPTH", 2, "-output", "weights")
        words += ["-pretrained", "weights"]
    command(FINETUNE, *words, "-output", "run")
    promised = json.loads(Path("run/yardsticks.json").read_text())["logistic"]
    assert promised.keys() == {kind, "raw_pixels"}
    program, *printed = shlex.split(_logistic_command(read_run("run")))
    assert program == "mae-probe"
    command(PROBE, *printed, "--json", "figures.json")
    figures = json.loads(Path("figures.json").read_text())
    assert (figures["top1"], figures["raw_pixels"]) == (promised[kind], promised["raw_pixels"])
