"""A config file of another stage: it lends the keys that mean the same in all stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_core.stage.config.node import Config, Schema, flatten, read_layers, set_key, to_dict

STAGES = ("PRETRAIN", "FINETUNE", "LINEARPROBE")  # the MODEL.TYPE of each
# What images and model are; how they are trained is each stage's own recipe.
_SHARED = (
    *("MODEL.NAME", "MODEL.PATCH_SIZE", "MODEL.MLP_RATIO", "MODEL.QKV_BIAS", "MODEL.ENCODER"),
    *("DATA", "SEED", "AMP", "AMP_DTYPE"),
)
_OWN = ("DATA.BATCH_SIZE", "DATA.BATCH_SIZE_EVAL", "DATA.CROP_PCT", "DATA.CROP_SCALE", "DATA.HFLIP", "DATA.REPEATS")


def stage_of_file(path: Path) -> str | None:
    """Return the MODEL.TYPE that a config file, or a BASE of it, states; None where it states none of STAGES."""
    model = _read_whole(path).get("MODEL")
    stage = model.get("TYPE") if isinstance(model, dict) else None
    return stage if stage in STAGES else None


def merge_shared(config: Config, path: Path, schema: Schema, stage: str) -> str:
    """Merge what a file of another stage shares with this one; return a line on what was taken and what was not."""
    own = flatten(to_dict(schema.defaults))
    values = {key: value for key, value in flatten(_read_whole(path)).items() if key not in ("MODEL.TYPE", "BASE")}
    taken = {key: value for key, value in values.items() if key in own and _is_shared(key)}
    for key, value in taken.items():
        set_key(config, key, value, schema)
    ignored = _by_group(values, taken)
    return (
        f"{path} is a config of another stage ({stage}): it lends {', '.join(taken) or 'nothing'};"
        f" ignored: {', '.join(ignored) or 'nothing'}"
    )


def _is_shared(key: str) -> bool:
    return key not in _OWN and any(key == shared or key.startswith(f"{shared}.") for shared in _SHARED)


def _by_group(values: Mapping[str, Any], taken: Mapping[str, Any]) -> list[str]:
    """List the keys that were not taken, a group by its name where none of it was."""
    used = {key.split(".")[0] for key in taken}
    left = [key for key in values if key not in taken]
    return list(dict.fromkeys(key if key.split(".")[0] in used else key.split(".")[0] for key in left))


def _read_whole(path: Path) -> dict[str, Any]:
    """Read a file over its BASE files, as nested plain data, whatever its keys."""
    whole: dict[str, Any] = {}
    for _, data in read_layers(path):
        _update(whole, data)
    return whole


def _update(whole: dict[str, Any], data: Mapping[str, Any]) -> None:
    for key, value in data.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            _update(whole[key], value)
        else:
            whole[key] = value
