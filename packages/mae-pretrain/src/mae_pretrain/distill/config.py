"""The recipe of distillation: pre-training's, and a teacher (MAE-Lite, arXiv 2205.14443)."""

from dataclasses import replace

from mae_core.stage.config.checks import require
from mae_core.stage.config.keys import NO_END, Key
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import Recipe
from mae_pretrain import config as pretraining

KEYS = {
    **pretraining.KEYS,
    "MODEL.TYPE": Key("DISTILL", "the stage; no other is taken", choices=("DISTILL",)),
    "MODEL.TEACHER": Key(None, "the run, or weights, whose encoder teaches: what -pretrained names here", also=str),
    "MODEL.PRETRAINED": replace(pretraining.KEYS["MODEL.PRETRAINED"], meaning="weights that the student begins with"),
    "TRAIN.ATTENTION": Key(
        1.0,
        "what the distance of the attention maps counts, where the loss of the pixels counts 1",
        "MAE-Lite: 1",
        range=(0, NO_END),
    ),
}


def validate(c: Config) -> None:
    """Check what pre-training does, and that nothing is to be scored."""
    pretraining.validate(c)
    require(not c.EVAL, "distill scores nothing; `mae-pretrain -eval` scores what it has trained")


RECIPE = Recipe("mae_pretrain.distill", KEYS, validate, validate_training=pretraining.validate_training)
