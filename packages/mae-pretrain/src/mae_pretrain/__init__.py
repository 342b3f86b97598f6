"""MAE pre-training (paper section 4 and Table 8): `mae-pretrain` on the command line.

Public names are imported on first use, so that `import mae_pretrain` does not need Paddle.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_pretrain.api import dry_run as dry_run
    from mae_pretrain.api import pretrain as pretrain
    from mae_pretrain.curve import draw_curve as draw_curve
    from mae_pretrain.pictures import Pictures as Pictures
    from mae_pretrain.pictures import reconstruct as reconstruct

__version__ = "0.1.0"
_MODULES = {
    "Pictures": "pictures",
    "draw_curve": "curve",
    "dry_run": "api",
    "pretrain": "api",
    "reconstruct": "pictures",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    from mae_core.process import runtime  # which prepares what Paddle reads at its import

    return runtime.public_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
