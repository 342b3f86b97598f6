"""A stage's config from the arguments of one call: what `pretrain`, `finetune` and `probe` begin with in Python."""

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

from mae_core.errors import UserError
from mae_core.process import log
from mae_core.stage.config.from_weights import Opened, load_config
from mae_core.stage.config.recipe import Recipe

_KEYS = {
    "data": "DATA.DATA_PATH",
    "output": "SAVE",
    "epochs": "TRAIN.NUM_EPOCHS",
    "batch_size": "DATA.BATCH_SIZE",
    "image_size": "DATA.IMAGE_SIZE",
    "pretrained": "MODEL.PRETRAINED",
    "resume": "MODEL.RESUME",
    "num_classes": "MODEL.NUM_CLASSES",
}
_MODEL = {
    "embed_dim": "MODEL.ENCODER.EMBED_DIM",
    "depth": "MODEL.ENCODER.DEPTH",
    "num_heads": "MODEL.ENCODER.NUM_HEADS",
    "patch_size": "MODEL.PATCH_SIZE",
}
_WARMUP = "TRAIN.WARMUP_EPOCHS"


def config_of_call(
    recipe: Recipe,
    cfg: str | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    model: str | None = None,
    **arguments: Any,
) -> Opened:
    """Build the frozen config of a run, and open what it names.

    Another number of epochs keeps the share of warm-up, unless the settings say how long that is.

    Args:
        cfg: YAML config: a file, or the name of a packaged one.
        settings: values by dotted key, over all else: {"TRAIN.BASE_LR": 1e-3}.
        model: a name of `mae_core.PRESETS`; None leaves it to the weights, cfg and the recipe.
        arguments: data, output, epochs, batch_size, image_size, pretrained, resume, num_classes; None is not given.

    Raises:
        ConfigError: a key, a value, or what must hold between them.
        UserError: the model is not known.
        TypeError: there is no such argument.
    """
    if unknown := arguments.keys() - _KEYS.keys():
        raise TypeError(f"{min(unknown)!r} is no argument; there are cfg, settings, model, {', '.join(_KEYS)}")
    flags = {_KEYS[name]: _plain(value) for name, value in arguments.items() if value is not None}
    flags |= _preset(model) if model else {}
    flags |= {key: _plain(value) for key, value in (settings or {}).items()}
    epochs = flags.get(_KEYS["epochs"])
    if type(epochs) is int and epochs > 0 and _WARMUP not in flags:
        usual = recipe.merge(cfg, {}, []).TRAIN
        flags[_WARMUP] = round(usual.WARMUP_EPOCHS * epochs / usual.NUM_EPOCHS)
    return load_config(recipe, cfg, flags, say=log.LOGGER.info)


def _plain(value: Any) -> Any:
    if isinstance(value, PathLike):
        return fspath(value)
    return list(value) if isinstance(value, tuple) else value


def _preset(name: str) -> dict[str, Any]:
    from mae_core.models.presets import PRESETS  # needs Paddle

    if name not in PRESETS:
        raise UserError(f"model {name!r} is not known; use one of {', '.join(sorted(PRESETS))}")
    return {"MODEL.NAME": name, **{_MODEL[key]: value for key, value in PRESETS[name][1].items()}}
