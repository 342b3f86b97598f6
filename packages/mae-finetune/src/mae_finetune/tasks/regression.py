"""Numbers of each image, one or several: smooth L1 on numbers standardised by the training list."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paddle import Tensor, nn

from mae_core.export.ports import Port
from mae_core.models import ViTEncoder
from mae_core.report.page import Page
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import encoder_of
from mae_core.stage.run.model_card import Card
from mae_core.training.plan import Samples
from mae_data.images.windows import Window
from mae_data.loading.dataset import ListDataset
from mae_finetune.class_names import listed_names, names_of
from mae_finetune.prediction.predictor import Predictor
from mae_finetune.prediction.results import printable, where
from mae_finetune.tasks.figures_page import figures_page
from mae_finetune.tasks.regressor import Regressor, as_regressor
from mae_finetune.tasks.row_scores import number_table
from mae_finetune.tasks.target_rows import Rows, RowTask, report_figures
from mae_finetune.tasks.task import Evaluation, LossFn, OutputFacts
from mae_finetune.tasks.worst_images import far_numbers

SPOKEN = {"mae": "MAE {:.4g}", "mae_of_mean": "of the training mean {:.4g}", "rmse": "RMSE {:.4g}",
          "rmse_of_mean": "of the training mean {:.4g}", "r2": "R2 {:.4f}", "val_loss": "loss {:.4f}"}  # fmt: skip


@dataclass(frozen=True)
class Number:
    """A number that is said of an image, and its name: its place where nobody knows names."""

    name: str
    value: float


@dataclass(frozen=True)
class MeasuredImage:
    """What is said of one image: its path, or its place in the input, and the numbers in their units."""

    image: str
    numbers: tuple[Number, ...]
    window: Window | None = None

    def line(self) -> str:
        """Say it for people."""
        return f"{where(self)}: {', '.join(f'{printable(n.name)} {n.value:.6g}' for n in self.numbers)}"

    def rows(self) -> list[Sequence[object]]:
        """Return a line of all numbers."""
        return [[f"{number.value:.9g}" for number in self.numbers]]


class Measurer(Predictor[MeasuredImage]):
    """A trained model that says numbers of images; see `Predictor`."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.names = _names(opened.config, names_of(opened.config, self.model))
        self.columns = self.names

    def activate(self, outputs: Tensor) -> Tensor:
        """Return the numbers [N, T] as they are."""
        return outputs

    def say(self, image: str, values: NDArray[np.float32], topk: int | None) -> MeasuredImage:
        """Give each number its name."""
        return MeasuredImage(image, tuple(Number(n, float(v)) for n, v in zip(self.names, values, strict=True)))

    def bands(self, values: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
        """Return each number as the bands of a map."""
        return self.names, values


def _names(config: Config, known: Sequence[str | None] | None) -> list[str]:
    return [name or f"number_{i}" for i, name in enumerate(known or [None] * config.MODEL.NUM_CLASSES)]


class NumberRows(Rows):
    """Numbers of all images of a list, said and true.

    Args:
        model: which holds mean and deviation of the training targets.
    """

    def __init__(self, images: int, model: Regressor) -> None:
        super().__init__(images, model.num_classes)
        self.mean, self.std = (x.numpy().astype(np.float64) for x in (model.head.mean, model.head.std))

    def table(self) -> dict[str, NDArray[np.float64]]:
        """Return that of `number_table`."""
        return number_table(*self.scored, self.mean, self.std)


class NumberEvaluation(Evaluation):
    """The validation list, each image with its numbers."""

    usual_best = "val_loss"  # it weighs numbers of different units alike

    def counts(self, model: nn.Layer) -> NumberRows:
        """Return empty counts."""
        return NumberRows(len(self.dataset), as_regressor(model))

    def figures(self, counts: NumberRows) -> dict[str, float]:
        """Return those of `number_table`, as means over the numbers."""
        return {name: float(values.mean()) for name, values in counts.table().items()}

    def report(self, counts: NumberRows, seconds: float, output: str) -> dict[str, float]:
        """Log the figures and write `scores.json`, `per_number.csv` and `predictions.csv`."""
        names, table = _names(self.config, listed_names(self.config)), counts.table()
        figures, images = self.figures(counts), len(counts.scored[0])
        whole = report_figures(figures, SPOKEN, images, seconds, output, "number", names, table)
        counts.write(Path(output) / "eval/predictions.csv", names, lambda said: said, self.dataset.images.path)
        return whole


class Regression(RowTask):
    """MODEL.NUM_CLASSES numbers."""

    card = Card(
        "Numbers of images, fine-tuned from a masked autoencoder",
        "Measuring in images what its training list has numbers of.",
        "It gives numbers for any image, also for one that shows nothing of the kind, and does not say how sure it is."
        " Its error on other kinds of images than the validation list's is unknown until it is measured (-eval).",
        "mae",
        "mean absolute error {:.4g}",
    )
    are_labels = False
    predictor, evaluation = Measurer, NumberEvaluation

    def build(self, config: Config) -> Regressor:
        """Build a model with an output for each number."""
        m = config.MODEL
        return Regressor(numbers=m.NUM_CLASSES, global_pool=m.GLOBAL_POOL, **encoder_of(config, m.DROPPATH))

    def take_in(self, config: Config, model: ViTEncoder, images: ListDataset) -> None:
        """Name the numbers, and keep their mean and deviation."""
        regressor = as_regressor(model)
        regressor.name_classes(listed_names(config))
        regressor.standardise_by(images.targets)

    def loss(self, config: Config, images: ListDataset) -> LossFn:
        """Return the smooth L1 loss of standardised numbers."""
        return number_loss

    def output(self, config: Config) -> Port:
        """Describe the numbers."""
        return Port("numbers", (config.MODEL.NUM_CLASSES,), "float32", "numbers in the units of the training list")

    def facts(self, config: Config, model: ViTEncoder) -> OutputFacts:
        """Return the numbers' names, and by what they were standardised in training."""
        head = as_regressor(model).head
        return {
            "numbers": config.MODEL.NUM_CLASSES,
            "names": _names(config, names_of(config, model)),
            "standardisation_undone_in_graph": {"mean": head.mean.tolist(), "std": head.std.tolist()},
        }

    def page(self, folder: str, compare: Sequence[str]) -> Page:
        """Put the page of a run together."""
        return figures_page(folder, compare, self.card, SPOKEN, "per_number", "smooth L1 loss", far_numbers)


def number_loss(model: nn.Layer, batch: Samples, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Score the model on a batch."""
    return as_regressor(model).loss(model(batch.images), batch.labels), {}


TASK = Regression()
