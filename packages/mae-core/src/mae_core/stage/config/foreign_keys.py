"""Keys of other programs and stages in a config: PaddleViT's, which ours lack, and those of another stage's file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from mae_core.errors import ConfigError
from mae_core.stage.config.merge import COMMAND_LINE, Merge, literal, nearest_key
from mae_core.stage.config.node import Tree, Values, flatten, update
from mae_core.stage.config.yaml_file import Layer

_NO_DROPOUT = "MAE's ViT has no dropout; use MODEL.DROPPATH"
_FROZEN = ("MODEL.DROPOUT", "MODEL.ATTENTION_DROPOUT")  # a probe's encoder drops nothing, whatever they are
# The values that hold here anyway, and what to do where others are stated.
_IN_FORCE: dict[str, tuple[tuple[object, ...], str]] = {
    "DATA.DATASET": (
        ("imagenet2012",),
        "'imagenet2012' is the only name; what DATA.DATA_PATH is decides where images come from",
    ),
    "MODEL.DROPOUT": ((0, None), _NO_DROPOUT),
    "MODEL.ATTENTION_DROPOUT": ((0, None), _NO_DROPOUT),
    "TRAIN.LAST_EPOCH": ((0, None), "a run goes on with -resume RUN_FOLDER, which knows its epoch"),
    "TRAIN.AUTO_AUGMENT": ((False, None), "AutoAugment is not made here; TRAIN.RAND_AUGMENT is"),
}
# The same in the stage that erases and mixes; others have no use for these whatever they are.
_IN_FORCE_OF_FINETUNE: dict[str, tuple[tuple[object, ...], str]] = {
    "TRAIN.RANDOM_ERASE_MODE": (("pixel",), "'pixel', noise for each pixel, is the only kind here"),
    "TRAIN.RANDOM_ERASE_SPLIT": ((False, None), "no views are made here, so none can stay whole"),
    "TRAIN.CUTMIX_MINMAX": ((None,), "boxes are drawn by TRAIN.CUTMIX_ALPHA; leave it None"),
}
# No stage of ours has the first: in PaddleViT too it has no effect beside RandAugment, its default. The others belong
# to some stage; there as here they have no effect in one that lacks them.
_NO_EFFECT = frozenset(
    [
        *("TRAIN.COLOR_JITTER", "DATA.BATCH_SIZE_EVAL", "VALIDATE_FREQ"),
        *("MODEL.NUM_CLASSES", "MODEL.GLOBAL_POOL", "MODEL.MASK_RATIO", "MODEL.NORM_PIX_LOSS", "MODEL.DROPPATH"),
        *("MODEL.DECODER.DEPTH", "MODEL.DECODER.EMBED_DIM", "MODEL.DECODER.NUM_HEADS"),
        *("TRAIN.LAYER_DECAY", "TRAIN.SMOOTHING", "TRAIN.RAND_AUGMENT", "TRAIN.RAND_AUGMENT_LAYERS"),
        *("TRAIN.RAND_AUGMENT_MAGNITUDE", "TRAIN.MIXUP_ALPHA", "TRAIN.MIXUP_PROB", "TRAIN.MIXUP_SWITCH_PROB"),
        *("TRAIN.MIXUP_MODE", "TRAIN.CUTMIX_ALPHA", "TRAIN.RANDOM_ERASE_PROB", "TRAIN.RANDOM_ERASE_COUNT"),
        *("TRAIN.OPTIMIZER.EPS", "TRAIN.OPTIMIZER.BETAS"),
    ]
)
# Keys of pre-training alone: where nothing is trained they may stand in a file, and the encoder is the same.
_OF_PRETRAINING = frozenset(
    [
        *("DATA.CROP", "DATA.CROPS", "DATA.REPEATS", "TRAIN.SCHEDULE", "TRAIN.DECAY", "TRAIN.ANNEAL", "TRAIN.EMA"),
        *("MODEL.MASKING", "MODEL.DECODER.KIND", "MODEL.DECODER.PREDICTED", "MODEL.GRAD_CHECKPOINTING"),
        *("MONITOR.EVERY", "MONITOR.PICTURES", "MONITOR.TRAIN_IMAGES", "MONITOR.VAL_IMAGES", "TRAIN.SHARD_OPTIMIZER"),
    ]
)

KEYS = _NO_EFFECT | _IN_FORCE.keys() | _IN_FORCE_OF_FINETUNE.keys()
STAGES = ("PRETRAIN", "REFINE", "DISTILL", "FINETUNE", "LINEARPROBE")  # the MODEL.TYPE of each
# Where their YAML files lie; a package need not be installed.
_CONFIGS = (
    *("mae_pretrain/configs", "mae_pretrain/refine/configs", "mae_pretrain/distill/configs"),
    *("mae_finetune/configs", "mae_probe/configs"),
)
# What images and model are; how they are trained is each stage's own recipe.
_SHARED = (
    *("MODEL.NAME", "MODEL.PATCH_SIZE", "MODEL.MLP_RATIO", "MODEL.QKV_BIAS", "MODEL.ENCODER"),
    *("DATA", "SEED", "AMP", "AMP_DTYPE"),
)
_OWN = (
    *("DATA.BATCH_SIZE", "DATA.BATCH_SIZE_EVAL", "DATA.CROP_PCT", "DATA.CROP_SCALE", "DATA.REPEATS"),
    *("DATA.HFLIP", "DATA.VFLIP", "DATA.ROTATE90"),
)


@dataclass
class PassedOver:
    """The keys without effect that were stated; called by `Merge` with each that the stage has not.

    Args:
        stage: MODEL.TYPE of the stage.
        trains: whether it is to train; otherwise files may hold keys of pre-training, too.
    """

    stage: str
    trains: bool = True
    by_source: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, key: str, value: object, source: str) -> bool:
        stated = flatten({key: value})
        known = KEYS if self.trains or source == COMMAND_LINE else KEYS | _OF_PRETRAINING
        below = [name.removeprefix(f"{key}.") for name in known if name.startswith(f"{key}.")]
        if not stated or (not below and key not in known):
            return False
        if unknown := sorted(stated.keys() - known):
            wrong = unknown[0].removeprefix(f"{key}.")
            raise ConfigError(f"{source}: key {unknown[0]} is not known{nearest_key(wrong, below, f'{key}.')}")
        for name, given in stated.items():
            self._require(name, given, source)
        self.by_source.setdefault(source, []).extend(stated)
        return True

    def _require(self, key: str, value: object, source: str) -> None:
        """Refuse a value that would change the training."""
        in_force = _IN_FORCE | (_IN_FORCE_OF_FINETUNE if self.stage == "FINETUNE" else {})
        if key not in in_force or (self.stage == "LINEARPROBE" and key in _FROZEN):
            return
        values, advice = in_force[key]
        value = literal(value) if isinstance(value, str) else value
        if value not in values:
            raise ConfigError(f"{source}: {key}={value!r} cannot be taken: {advice}")

    def lines(self) -> Iterator[str]:
        """Yield a line for each source that stated such keys."""
        for source, keys in self.by_source.items():
            yield f"{source}: without effect in this stage: {', '.join(dict.fromkeys(keys))}"


def config_folders() -> Iterator[Path]:
    """Yield the folders of packaged config files of all stages that are installed."""
    for folder in _CONFIGS:
        package, _, below = folder.partition("/")
        if (spec := find_spec(package)) and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0], below)


def stage_of_layers(layers: Sequence[Layer]) -> str | None:
    """Return the MODEL.TYPE that a config file, or a BASE of it, states; None where it states none of STAGES."""
    stage = _whole(layers).get("MODEL.TYPE")
    return stage if isinstance(stage, str) and stage in STAGES else None


def merge_shared(merge: Merge, layers: Sequence[Layer], stage: str) -> str:
    """Merge what a file of another stage shares with this one; return a line on what was taken and what was not."""
    path = layers[-1].path
    values = {key: value for key, value in _whole(layers).items() if key != "MODEL.TYPE"}
    shared = tuple(f"{name}." for name in _SHARED)
    taken = {
        key: v for key, v in values.items() if key in merge.keys and key not in _OWN and f"{key}.".startswith(shared)
    }
    merge.values(taken, str(path))
    ignored = _by_group(values, taken)
    return (
        f"{path} is a config of another stage ({stage}): it lends {', '.join(taken) or 'nothing'};"
        f" ignored: {', '.join(ignored) or 'nothing'}"
    )


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
