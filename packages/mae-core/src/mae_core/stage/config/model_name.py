"""MODEL.NAME: a preset's name chooses sizes, and a name of a network is that of its sizes or is not written."""

from mae_core.errors import UserError
from mae_core.model_sizes import network_name, preset_sizes
from mae_core.stage.config.node import Config, Values

_KEYS = {
    "embed_dim": "MODEL.ENCODER.EMBED_DIM",
    "depth": "MODEL.ENCODER.DEPTH",
    "num_heads": "MODEL.ENCODER.NUM_HEADS",
    "patch_size": "MODEL.PATCH_SIZE",
}


def preset_values(name: str) -> Values:
    """Return what a preset sets, by dotted key.

    Raises:
        UserError: there is no such preset.
    """
    try:
        sizes = preset_sizes(name)
    except ValueError as error:
        raise UserError(str(error)) from None
    return {"MODEL.NAME": name, **{key: sizes[argument] for argument, key in _KEYS.items()}}


def is_label(name: object) -> bool:
    """Whether a name is one of the user's own: those of networks begin with ViT or MAE-ViT, in any spelling."""
    return isinstance(name, str) and not name.lower().replace("-", "_").startswith(("vit_", "mae_vit_"))


def name_model(config: Config) -> None:
    """Set MODEL.NAME to what the sizes are called, unless it is a label, or true."""
    m, e, stated, size = config.MODEL, config.MODEL.ENCODER, config.MODEL.NAME, config.DATA.IMAGE_SIZE
    network = network_name(e.EMBED_DIM, e.DEPTH, e.NUM_HEADS, m.PATCH_SIZE, size, m.MLP_RATIO, m.QKV_BIAS)
    is_true = stated and f"{network}_".startswith(f"{stated.removeprefix('mae_')}_")
    if not (is_label(stated) or is_true):
        m.NAME = network
