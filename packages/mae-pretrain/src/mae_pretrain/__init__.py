"""MAE pre-training (paper section 4 and Table 8): `mae-pretrain` on the command line.

Public names are imported on first use, so that `import mae_pretrain` does not need Paddle.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_pretrain.api import dry_run, pretrain
    from mae_pretrain.curve import draw_curve
    from mae_pretrain.pictures import Pictures, reconstruct

__version__ = "0.1.0"
_HOMES = {
    "Pictures": "pictures",
    "draw_curve": "curve",
    "dry_run": "api",
    "pretrain": "api",
    "reconstruct": "pictures",
}
__all__ = ["Pictures", "__version__", "draw_curve", "dry_run", "pretrain", "reconstruct"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mae_pretrain' has no attribute {name!r}")
    from mae_core.process.runtime import import_paddle  # and the runtime is prepared before

    import_paddle()
    return getattr(import_module(f"mae_pretrain.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
