"""A stage's config from the arguments of one call: what `pretrain`, `finetune` and `probe` begin with in Python."""

from collections.abc import Mapping
from os import PathLike, fspath

from mae_core.process import distributed, log
from mae_core.stage.config.from_weights import Opened, complete
from mae_core.stage.config.node import Config, Values, plain
from mae_core.stage.config.recipe import Recipe, preset_values

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
_WARMUP = "TRAIN.WARMUP_EPOCHS"


def config_of_call(
    recipe: Recipe,
    cfg: str | None = None,
    settings: Mapping[str, object] | None = None,
    *,
    model: str | None = None,
    **arguments: object,
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
    stated = stated_in_call(settings, model=model, **arguments)
    log.setup(distributed.is_main())  # what is taken from where is said before the run sets it up

    def with_warmup(config: Config) -> Values:
        """Add the warm-up of the same share as in the file or the recipe."""
        epochs, usual = stated.get(_KEYS["epochs"]), config.TRAIN
        if type(epochs) is not int or epochs < 1 or _WARMUP in stated:
            return stated
        return {**stated, _WARMUP: round(usual.WARMUP_EPOCHS * epochs / usual.NUM_EPOCHS)}

    return complete(recipe, recipe.merge(cfg, with_warmup, say=log.LOGGER.info), say=log.LOGGER.info)


def stated_in_call(
    settings: Mapping[str, object] | None = None, *, model: str | None = None, **arguments: object
) -> Values:
    """Return what a call states, by dotted key; see `config_of_call`."""
    if unknown := arguments.keys() - _KEYS.keys():
        raise TypeError(f"{min(unknown)!r} is no argument; there are cfg, settings, model, {', '.join(_KEYS)}")
    stated: Values = {_KEYS[name]: _plain(value) for name, value in arguments.items() if value is not None}
    stated |= preset_values(model) if model else {}
    return stated | {key: _plain(value) for key, value in (settings or {}).items()}


def _plain(value: object) -> object:
    return fspath(value) if isinstance(value, PathLike) else plain(value)
