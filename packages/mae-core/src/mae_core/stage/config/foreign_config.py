"""A config file of another stage: it lends the keys that mean the same in all stages."""

from collections.abc import Iterable, Sequence

from mae_core.stage.config.base_files import Layer
from mae_core.stage.config.merge import Merge
from mae_core.stage.config.node import Tree, Values, flatten, update

STAGES = ("PRETRAIN", "REFINE", "FINETUNE", "LINEARPROBE")  # the MODEL.TYPE of each
# What images and model are; how they are trained is each stage's own recipe.
_SHARED = (
    *("MODEL.NAME", "MODEL.PATCH_SIZE", "MODEL.MLP_RATIO", "MODEL.QKV_BIAS", "MODEL.ENCODER"),
    *("DATA", "SEED", "AMP", "AMP_DTYPE"),
)
_OWN = (
    *("DATA.BATCH_SIZE", "DATA.BATCH_SIZE_EVAL", "DATA.CROP_PCT", "DATA.CROP_SCALE", "DATA.REPEATS"),
    *("DATA.HFLIP", "DATA.VFLIP", "DATA.ROTATE90"),
)


def stage_of_layers(layers: Sequence[Layer]) -> str | None:
    """Return the MODEL.TYPE that a config file, or a BASE of it, states; None where it states none of STAGES."""
    stage = _whole(layers).get("MODEL.TYPE")
    return stage if isinstance(stage, str) and stage in STAGES else None


def merge_shared(merge: Merge, layers: Sequence[Layer], stage: str) -> str:
    """Merge what a file of another stage shares with this one; return a line on what was taken and what was not."""
    path = layers[-1].path
    values = {key: value for key, value in _whole(layers).items() if key != "MODEL.TYPE"}
    taken = {key: value for key, value in values.items() if key in merge.keys and _is_shared(key)}
    merge.values(taken, str(path))
    ignored = _by_group(values, taken)
    return (
        f"{path} is a config of another stage ({stage}): it lends {', '.join(taken) or 'nothing'};"
        f" ignored: {', '.join(ignored) or 'nothing'}"
    )


def _is_shared(key: str) -> bool:
    return key not in _OWN and any(key == shared or key.startswith(f"{shared}.") for shared in _SHARED)


def _by_group(values: Iterable[str], taken: Iterable[str]) -> list[str]:
    """List the keys that were not taken, a group by its name where none of it was."""
    used, taken = {key.split(".")[0] for key in taken}, set(taken)
    left = [key for key in values if key not in taken]
    return list(dict.fromkeys(key if key.split(".")[0] in used else key.split(".")[0] for key in left))


def _whole(layers: Sequence[Layer]) -> Values:
    """Return what a file states over its BASE files, by dotted key, whatever the keys."""
    whole: Tree = {}
    for layer in layers:
        update(whole, layer.keys)
    return flatten(whole)
