"""Several labels of each image, each there or not: binary cross-entropy, the mean over images and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.export.ports import Port
from mae_core.models import VisionTransformer, ViTEncoder
from mae_core.process import log
from mae_core.report.page import Page
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.run.model_card import Card
from mae_core.training.plan import Samples
from mae_data.images.windows import Window
from mae_data.loading.dataset import ListDataset
from mae_finetune.class_names import known_names, listed_names, names_of
from mae_finetune.mixing import BatchMixer, mixer_of
from mae_finetune.prediction.predictor import Predictor
from mae_finetune.prediction.results import Guess, printable, where
from mae_finetune.tasks.classification import build_classifier
from mae_finetune.tasks.figures_page import figures_page
from mae_finetune.tasks.row_scores import THRESHOLD, label_table, multilabel_figures
from mae_finetune.tasks.target_rows import Rows, RowTask, report_figures
from mae_finetune.tasks.task import Evaluation, LossFn, OutputFacts
from mae_finetune.tasks.worst_images import wrong_labels

SPOKEN = {"map": "mAP {:.2f} %",
    "map_of_chance": "by chance {:.2f} %", "macro_f1": "macro F1 {:.2f} %", "micro_f1": "micro F1 {:.2f} %",
          "auroc": "AUROC {:.2f} %", "val_loss": "loss {:.4f}"}  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """What is said of one image: its path, or its place in the input, and the probability of each label."""

    image: str
    labels: tuple[Guess, ...]
    window: Window | None = None

    def line(self) -> str:
        """Name the labels that are likelier than not; a dash where none is."""
        said = (f"{printable(g.name)} {g.probability:.4f}" for g in self.labels if g.probability >= THRESHOLD)
        return f"{where(self)}: {', '.join(said) or '-'}"

    def rows(self) -> list[Sequence[object]]:
        """Return a line of all probabilities."""
        return [[f"{guess.probability:.6g}" for guess in self.labels]]


class Labeller(Predictor[Labelled]):
    """A trained model that says which labels an image has; see `Predictor`."""

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.names = known_names(opened.config, self.model)
        self.columns = self.names

    def activate(self, outputs: Tensor) -> Tensor:
        """Return probabilities [N, K]."""
        return F.sigmoid(outputs)

    def say(self, image: str, values: NDArray[np.float32], topk: int | None) -> Labelled:
        """Give each label its probability."""
        return Labelled(image, tuple(Guess(i, self.names[i], float(p)) for i, p in enumerate(values)))

    def bands(self, values: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
        """Return the probability of each label as the bands of a map."""
        return self.names, values


class LabelEvaluation(Evaluation):
    """The validation list, each image with a row of labels."""

    usual_best = "map"

    def counts(self, model: nn.Layer) -> Rows:
        """Return empty counts."""
        return Rows(len(self.dataset), self.config.MODEL.NUM_CLASSES)

    def figures(self, counts: Rows) -> dict[str, float]:
        """Return those of `multilabel_figures`."""
        return multilabel_figures(*counts.scored)

    def report(self, counts: Rows, seconds: float, output: str) -> dict[str, float]:
        """Log the figures and write `scores.json`, `per_label.csv` and `predictions.csv`."""
        names = listed_names(self.config) or [str(i) for i in range(self.config.MODEL.NUM_CLASSES)]
        table = label_table(*counts.scored)
        figures, images = self.figures(counts), len(counts.scored[0])
        whole = report_figures(figures, SPOKEN, images, seconds, output, "label", names, table)
        counts.write(Path(output) / "eval/predictions.csv", names, _probabilities, self.dataset.images.path)
        return whole


def _probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -logits))


class Multilabel(RowTask):
    """Any of K labels."""

    card = Card(
        "Labels of images, fine-tuned from a masked autoencoder",
        "Saying which of its labels an image has, none or several.",
        f"It knows its labels only; one is said from a probability of {THRESHOLD} on, and probabilities are not"
        " calibrated. How right it is on other kinds of images than the validation list's is unknown until it is"
        " measured (-eval).",
        "map",
        "mAP {:.2f} %",
    )
    are_labels = True
    predictor, evaluation = Labeller, LabelEvaluation

    def build(self, config: Config) -> VisionTransformer:
        """Build a model with an output for each label."""
        return build_classifier(config)

    def take_in(self, config: Config, model: ViTEncoder, images: ListDataset) -> None:
        """Name the labels."""
        model.name_classes(listed_names(config))

    def loss(self, config: Config, images: ListDataset) -> LossFn:
        """Return the binary cross-entropy of mixed images."""
        return partial(label_loss, mixer_of(config))

    def output(self, config: Config) -> Port:
        """Describe the logits."""
        return Port(
            "label_logits", (config.MODEL.NUM_CLASSES,), "float32", "sigmoid gives the probability of each label"
        )

    def facts(self, config: Config, model: ViTEncoder) -> OutputFacts:
        """Return the labels' names and the threshold."""
        if (names := names_of(config, model)) is None:
            log.LOGGER.warning(
                "no names of the labels are known: export.json has none; DATA.CLASS_NAMES FILE names them"
            )
        return {"labels": config.MODEL.NUM_CLASSES, "class_names": names, "threshold": THRESHOLD}

    def page(self, folder: str, compare: Sequence[str]) -> Page:
        """Put the page of a run together."""
        return figures_page(folder, compare, self.card, SPOKEN, "per_label", "binary cross-entropy", wrong_labels)


def label_loss(mixer: BatchMixer, model: nn.Layer, batch: Samples, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Mix a batch of images, their labels too, and score the model on it."""
    images, targets = mixer(batch.images, batch.labels, batch.indices, epoch)
    return F.binary_cross_entropy_with_logits(model(images).astype("float32"), targets), {}


TASK = Multilabel()
