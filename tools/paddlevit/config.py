"""PaddleViT's `from config import get_config`: the config of the stage that a file names."""

from importlib import import_module

from mae_core.stage.config.foreign_keys import stage_of_layers
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import Recipe, name_model
from mae_core.stage.config.yaml_file import read_layers

_PACKAGES = {"PRETRAIN": "mae_pretrain", "FINETUNE": "mae_finetune", "LINEARPROBE": "mae_probe"}


def get_config(cfg_file: str | None = None) -> Config:
    """Return a config that can still be changed, over which a file was merged; pre-training's where none is named.

    Raises:
        ConfigError: the file cannot be read, or holds a key or value that is not known.
    """
    stage = "PRETRAIN"
    if cfg_file:
        stage = _stage_of(cfg_file)
    recipe = _recipe(stage)
    config = recipe.merge(cfg_file, {}, say=print).config
    name_model(config)
    return config


def _stage_of(cfg_file: str) -> str:
    for stage in _PACKAGES:
        if cfg_file.removesuffix(".yaml").endswith(stage.lower()):
            return stage
    return stage_of_layers(read_layers(_recipe("PRETRAIN").find(cfg_file))) or "PRETRAIN"


def _recipe(stage: str) -> Recipe:
    recipe: Recipe = import_module(f"{_PACKAGES[stage]}.config").RECIPE
    return recipe
