"""The values that a stage's keys take: the same ones from a file, a flag and a pair; the others refused by key."""

from importlib import import_module
from typing import Any

import pytest
import yaml
from stage_runs import FINETUNE, PRETRAIN, PROBE, STAGES, Stage

from mae_core.errors import ConfigError
from mae_core.stage.config.node import get_key
from mae_core.stage.config.recipe import Recipe

every_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.package)


def recipe(stage: Stage) -> Recipe:
    return import_module(f"{stage.package}.config").RECIPE


@pytest.mark.parametrize(
    ("stages", "key", "file", "pair", "expected"),
    [
        (STAGES, "DATA.IMAGE_SIZE", [160, 224], "224", 224),
        (STAGES, "DATA.IMAGE_SIZE", 160, "(160, 224)", [160, 224]),
        (STAGES, "DATA.NODATA", "file", "-9999", -9999),
        (STAGES, "DATA.NODATA", -9999.5, "nan", "nan"),
        (STAGES, "DATA.VALUE_RANGE", [-1.0, 1.5], "255", 255),
        ((PRETRAIN, PROBE), "DATA.VALUE_RANGE", 65535, "[-1, 1.5]", [-1, 1.5]),
        (STAGES, "TRAIN.LINEAR_SCALED_LR", None, "256", 256),
        (STAGES, "TRAIN.GRAD_CLIP", 1, "0.5", 0.5),
        (STAGES, "TRAIN.GRAD_CLIP", 1.5, "None", None),
        (STAGES, "TRAIN.BASE_LR", 1, "0.5", 0.5),
        (STAGES, "MODEL.PRETRAINED", "x", "None", None),
        (STAGES, "MODEL.RESUME", "None", "auto", "auto"),
        ((FINETUNE, PROBE), "DATA.BATCH_SIZE_EVAL", 8, "None", None),
        ((FINETUNE, PROBE), "DATA.CROP_PCT", 1, "0.9", 0.9),
        ((FINETUNE,), "TRAIN.EMA", 0.9999, "None", None),
        ((FINETUNE,), "TRAIN.PARTIAL", 4, "0.5", 0.5),
        ((FINETUNE,), "TRAIN.PARTIAL", 0.5, "None", None),
        ((FINETUNE,), "TRAIN.LAYER_DECAY", None, "0.5", 0.5),
        ((FINETUNE,), "ROBUST.CLASS_MAP", "map.txt", "None", None),
    ],
)
def test_what_a_file_set_can_be_set_anew(tmp_path, stages: tuple[Stage, ...], key, file, pair, expected) -> None:
    for stage in stages:
        *groups, last = key.split(".")
        data: dict[str, Any] = {last: file}
        for group in reversed(groups):
            data = {group: data}
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(data))
        config = recipe(stage).load(str(tmp_path / "a.yaml"), pairs=[key, pair])
        assert get_key(config, key) == expected
        assert type(get_key(config, key)) is type(expected)


@every_stage
def test_paths_that_look_like_something_else_stay_text(stage: Stage, tmp_path) -> None:
    keys = ["MODEL.PRETRAINED", "MODEL.RESUME", "SAVE", "DATA.DATA_PATH"]
    keys += ["ROBUST.CLASS_MAP", "ROBUST.ALEXNET_ERRORS"] if stage is FINETUNE else []
    for key in keys:
        for path in ("2024", "1e5", "True", "(1, 2)"):
            assert get_key(recipe(stage).load(flags={key: path}), key) == path
            assert get_key(recipe(stage).load(pairs=[key, path]), key) == path
    (tmp_path / "a.yaml").write_text("MODEL: {PRETRAINED: 2024}")  # a number to YAML
    with pytest.raises(ConfigError, match=r"a\.yaml: MODEL\.PRETRAINED=2024 is not text or None"):
        recipe(stage).load(str(tmp_path / "a.yaml"))


ADAM = (PRETRAIN, FINETUNE)


@pytest.mark.parametrize(
    ("stages", "key", "values"),
    [
        (STAGES, "DATA.IMAGE_SIZE", "[32] [] [32,32,32] [32.0,32] 0 -32 ['a','b']"),
        (STAGES, "DATA.VALUE_RANGE", "0 -1 65536 [1,1] [2,1] [0] [0,1,2] ['a','b'] [True,2]"),
        (STAGES, "DATA.IMAGE_CHANNELS", "0 -1 5000"),
        (STAGES, "DATA.IMAGENET_MEAN", "[] [0.5,0.5,1.5] [-0.1,0.5,0.5] ['a','b','c'] [True,0.5,0.5]"),
        (STAGES, "DATA.IMAGENET_STD", "[] [0.0] [0.2,0.2,-0.2] ['a','b','c'] [0.2,0.2,1e999]"),
        (STAGES, "DATA.CROP_SCALE", "[0.5] [2,1] [0.9,0.2] [0.2,5] [0,1] [-1,1] ['a','b'] [0.1,0.5,1]"),
        (STAGES, "MODEL.MLP_RATIO", "-1 0 0.001"),
        (STAGES, "MODEL.ENCODER.EMBED_DIM", "0 -768"),
        (STAGES, "MODEL.ENCODER.DEPTH", "0 -1"),
        (STAGES, "MODEL.ENCODER.NUM_HEADS", "0 -4"),
        (STAGES, "TRAIN.END_LR", "-1"),
        (STAGES, "TRAIN.WARMUP_START_LR", "-1"),
        (STAGES, "TRAIN.LINEAR_SCALED_LR", "-5"),
        (ADAM, "TRAIN.OPTIMIZER.BETAS", "(1.5,2) (0.9,) (0.9,1.0) (-0.1,0.9) ('a','b') (0.9,0.99,0.999)"),
        (ADAM, "TRAIN.OPTIMIZER.EPS", "-1 0"),
        ((PRETRAIN,), "MODEL.DECODER.EMBED_DIM", "0 -8"),
        ((PRETRAIN,), "MODEL.DECODER.DEPTH", "0 -1"),
        ((PRETRAIN,), "MODEL.DECODER.NUM_HEADS", "0 -4"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_key(stages: tuple[Stage, ...], key: str, values: str) -> None:
    for stage in stages:
        for value in values.split():
            with pytest.raises(ConfigError) as error:
                recipe(stage).load(pairs=[key, value])
            assert f"{key}=" in str(error.value), value
            assert "\n" not in str(error.value)
