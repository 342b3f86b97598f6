"""Fine-tuning of masked autoencoders (paper section 4 and Tables 9 and 11): `mae-finetune` on the command line.

Public names are imported on first use, so that `import mae_finetune` does not need Paddle.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_finetune.api import finetune
    from mae_finetune.export import export_classifier
    from mae_finetune.prediction import Classifier, Guess, Prediction, predict

__version__ = "0.1.0"
_HOMES = {
    "Classifier": "prediction",
    "Guess": "prediction",
    "Prediction": "prediction",
    "export_classifier": "export",
    "finetune": "api",
    "predict": "prediction",
}
__all__ = ["Classifier", "Guess", "Prediction", "__version__", "export_classifier", "finetune", "predict"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mae_finetune' has no attribute {name!r}")
    from mae_core.process.runtime import import_paddle  # and the runtime is prepared before

    import_paddle()
    return getattr(import_module(f"mae_finetune.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
