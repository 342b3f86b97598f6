"""Fine-tuning of masked autoencoders (paper section 4 and Tables 9 and 11): `mae-finetune` on the command line.

Public names are imported on first use, so that `import mae_finetune` does not need Paddle.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mae_finetune.api import finetune as finetune
    from mae_finetune.api import predict as predict
    from mae_finetune.export import export_classifier as export_classifier
    from mae_finetune.prediction.results import Guess as Guess
    from mae_finetune.prediction.results import Prediction as Prediction
    from mae_finetune.tasks.classification import Classifier as Classifier

__version__ = "0.1.0"
_MODULES = {
    "Classifier": "tasks.classification",
    "Guess": "prediction.results",
    "Prediction": "prediction.results",
    "export_classifier": "export",
    "finetune": "api",
    "predict": "api",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    from mae_core.process import runtime  # which prepares what Paddle reads at its import

    return runtime.public_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__  # what the completion of a notebook offers
