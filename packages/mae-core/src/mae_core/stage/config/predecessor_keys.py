"""Keys of PaddleViT's MAE configs that a stage of ours has not: passed over where that changes nothing, else refused.

Its three stages share one config, so a file may state keys that its own stage never reads.
"""

from collections.abc import Callable
from typing import Any

from mae_core.errors import ConfigError
from mae_core.stage.config.node import flatten

# What must hold for a key to be passed over, and what to do where it does not.
_IN_FORCE: dict[str, tuple[tuple[Any, ...], str]] = {
    "TRAIN.LAST_EPOCH": ((0, None), "a run goes on with -resume RUN_FOLDER, which knows its epoch"),
    "TRAIN.AUTO_AUGMENT": ((False, None), "AutoAugment is not made here; TRAIN.RAND_AUGMENT is"),
    "MODEL.DROPOUT": ((0, None), "MAE's ViT has no dropout; use MODEL.DROPPATH"),
    "MODEL.ATTENTION_DROPOUT": ((0, None), "MAE's ViT has no dropout; use MODEL.DROPPATH"),
}
# No stage of ours has it: in the predecessor too it has no effect beside RandAugment, its default.
_NO_EFFECT = {"TRAIN.COLOR_JITTER": "no colours are jittered here, nor beside RandAugment in PaddleViT"}
# What other stages read; in PaddleViT as here it has no effect in the stage that lacks it.
_OTHER_STAGES = frozenset(
    [
        *("DATA.BATCH_SIZE_EVAL", "MODEL.NUM_CLASSES", "MODEL.GLOBAL_POOL", "MODEL.MASK_RATIO", "MODEL.NORM_PIX_LOSS"),
        *("MODEL.DECODER.DEPTH", "MODEL.DECODER.EMBED_DIM", "MODEL.DECODER.NUM_HEADS", "VALIDATE_FREQ"),
        *("TRAIN.LAYER_DECAY", "TRAIN.SMOOTHING", "TRAIN.RAND_AUGMENT", "TRAIN.RAND_AUGMENT_LAYERS"),
        *("TRAIN.RAND_AUGMENT_MAGNITUDE", "TRAIN.MIXUP_ALPHA", "TRAIN.MIXUP_PROB", "TRAIN.MIXUP_SWITCH_PROB"),
        *("TRAIN.MIXUP_MODE", "TRAIN.CUTMIX_ALPHA", "TRAIN.CUTMIX_MINMAX", "TRAIN.RANDOM_ERASE_PROB"),
        *("TRAIN.RANDOM_ERASE_MODE", "TRAIN.RANDOM_ERASE_COUNT", "TRAIN.RANDOM_ERASE_SPLIT"),
        *("TRAIN.OPTIMIZER.EPS", "TRAIN.OPTIMIZER.BETAS"),
    ]
)

KEYS = frozenset(_IN_FORCE) | frozenset(_NO_EFFECT) | _OTHER_STAGES


def passed_over(say: Callable[[str], None]) -> Callable[[str, Any, str], bool]:
    """Return what `Schema.foreign` asks: whether a key is one of these, and of no effect.

    Args:
        say: receives a line where something that was stated is left out.
    """

    def foreign(key: str, value: Any, source: str) -> bool:
        keys = flatten({key: value}) if isinstance(value, dict) else {key: value}
        if not keys or not all(name in _IN_FORCE or name in _NO_EFFECT or name in _OTHER_STAGES for name in keys):
            return False
        for name, stated in keys.items():
            _judge(name, stated, source, say)
        return True

    return foreign


def _judge(key: str, value: Any, source: str, say: Callable[[str], None]) -> None:
    if key in _IN_FORCE:
        values, advice = _IN_FORCE[key]
        if (None if value in ("None", "0", "False") else value) not in values:
            raise ConfigError(f"{source}: {key}={value!r} cannot be taken: {advice}")
        return
    why = _NO_EFFECT.get(key, "this stage has no use for it")
    say(f"{source}: {key}={value!r} is left out: {why}")
