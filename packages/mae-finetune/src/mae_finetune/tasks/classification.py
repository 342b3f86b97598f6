"""One class of each image: cross-entropy over classes that exclude one another (paper Table 9)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.evaluation.classifier import report_scores
from mae_core.export.ports import Port
from mae_core.models import VisionTransformer, ViTEncoder
from mae_core.process import log
from mae_core.report.page import Page
from mae_core.stage.classifier import best_by_of, class_weights_of
from mae_core.stage.classifier_report import classifier_page
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import encoder_of
from mae_core.stage.run.model_card import Card
from mae_core.training.plan import Samples
from mae_core.training.precision import Precision
from mae_data.loading.dataset import ListDataset
from mae_finetune.build import eval_dataset, scored_images, train_dataset
from mae_finetune.class_names import known_names, names_of, training_names
from mae_finetune.mixing import BatchMixer, mixer_of, soft_target_cross_entropy
from mae_finetune.prediction.predictor import Predictor
from mae_finetune.prediction.results import Guess, Prediction
from mae_finetune.robustness import (
    SEVERITIES,
    RobustScores,
    corruption_errors,
    group_images,
    map_labels,
    read_class_map,
    read_errors,
    require_every_group,
)
from mae_finetune.start_features import measure_start
from mae_finetune.tasks.task import Evaluation, LossFn, OutputFacts, Task

TOPK = 5


class Classifier(Predictor[Prediction]):
    """A trained classifier, ready for images; see `Predictor`."""

    ranks = True
    columns = ("rank", "label", "name", "probability")

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.names = known_names(opened.config, self.model)

    def activate(self, outputs: Tensor) -> Tensor:
        """Return probabilities [N, K]."""
        return F.softmax(outputs, axis=-1)

    def say(self, image: str, values: NDArray[np.float32], topk: int | None) -> Prediction:
        """Name the likeliest classes."""
        best = np.argsort(-values, kind="stable")[: topk or TOPK]  # of classes that are as likely, the lower first
        return Prediction(image, tuple(Guess(int(c), self.names[c], float(values[c])) for c in best))

    def bands(self, values: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
        """Return the likeliest class and the probability of each as the bands of a map."""
        unknown = np.isnan(values[..., :1])  # no window lies there
        likeliest = np.where(unknown, np.float32(np.nan), values.argmax(axis=-1)[..., None])
        return ["label", *self.names], np.concatenate([likeliest, values], axis=-1).astype(np.float32)


class ClassEvaluation(Evaluation):
    """The validation list, with the labels and parts that ROBUST asks for.

    Attributes:
        labels: int64 [N], the model output that each image should give.
        absent: bool [K], outputs that do not take part.
        group_of: int64 [N], the part of the list that each image counts for; None where none are told apart.
        references: error to divide by, by corruption; empty where there are none.
    """

    def __init__(self, config: Config, dataset: ListDataset) -> None:
        super().__init__(config, dataset)
        robust, classes = config.ROBUST, config.MODEL.NUM_CLASSES
        self.labels: NDArray[np.int64] = dataset.images.labels
        self.absent: NDArray[np.bool_] = np.zeros(classes, dtype=bool)
        if robust.CLASS_MAP:
            outputs = read_class_map(robust.CLASS_MAP, classes)
            self.labels = map_labels(dataset.images, outputs)
            self.absent[:] = True
            self.absent[list(outputs.values())] = False
        self.references = read_errors(robust.ALEXNET_ERRORS) if robust.CORRUPTIONS else {}
        self.group_of: NDArray[np.int64] | None = None
        if self.references:
            self.group_of = group_images(dataset.images, list(self.references))
            require_every_group(self.group_of, list(self.references))

    @property
    def best_by(self) -> str:
        """The figure that TRAIN.BEST_BY names."""
        return best_by_of(self.config, self.labels)

    def counts(self, model: nn.Layer) -> RobustScores:
        """Return empty counts."""
        return RobustScores(self.labels, self.absent, self.group_of, len(self.references) * SEVERITIES)

    def figures(self, counts: RobustScores) -> dict[str, float]:
        """Return the figures of `Scores`."""
        return counts.figures()

    def report(self, counts: RobustScores, seconds: float, output: str) -> dict[str, float]:
        """Report as `report_scores` does; with ROBUST.CORRUPTIONS also each corruption's error and `mCE`."""
        images = self.dataset.images
        errors = corruption_errors(counts.groups, self.references) if self.references else {}
        return report_scores(
            counts,
            seconds,
            output,
            images.class_folders(self.labels),
            errors,
            images.path,
            logged=["mCE"] if errors else [],
        )


class Classification(Task):
    """One class of K."""

    card = Card(
        "Classifier, fine-tuned from a masked autoencoder",
        "Classification into its classes.",
        "It knows its classes only and gives one of them for any image; its probabilities are not calibrated."
        " Accuracy on other kinds of images than the validation list's is unknown until it is measured (-eval).",
        "top1",
        "top-1 {:.2f} %",
    )
    predictor, evaluation = Classifier, ClassEvaluation

    def build(self, config: Config) -> VisionTransformer:
        """Build the classifier."""
        return build_classifier(config)

    def train_dataset(self, config: Config) -> ListDataset:
        """Open the training list, each image with its class."""
        return train_dataset(config)

    def eval_dataset(self, config: Config, list_name: str | None = None, *, dropping: bool = False) -> ListDataset:
        """Open a list for its images."""
        return eval_dataset(config, "optional", list_name, dropping=dropping)

    def take_in(self, config: Config, model: ViTEncoder, images: ListDataset) -> None:
        """Name the classes."""
        model.name_classes(training_names(config, images.images))

    def measure_start(
        self, config: Config, model: ViTEncoder, images: ListDataset, precision: Precision, folder: Path
    ) -> None:
        """Measure logistic regression for the same labels; see `start_features`."""
        measure_start(config, model, images, precision, folder)

    def loss(self, config: Config, images: ListDataset) -> LossFn:
        """Return the cross-entropy of mixed images."""
        return partial(finetune_loss, mixer_of(config, class_weights_of(config, images.images.labels)))

    def open_evaluation(self, config: Config, *, dropping: bool = False) -> ClassEvaluation:
        """Open the validation list, whose labels are required unless ROBUST.CLASS_MAP gives them."""
        labels = "optional" if config.ROBUST.CLASS_MAP else "required"
        return ClassEvaluation(config, eval_dataset(config, labels, dropping=dropping))

    def output(self, config: Config) -> Port:
        """Describe the logits."""
        return Port("logits", (config.MODEL.NUM_CLASSES,), "float32", "softmax gives probabilities")

    def facts(self, config: Config, model: ViTEncoder) -> OutputFacts:
        """Return the number of classes and their names."""
        names = names_of(config, model)
        if names is None:
            log.LOGGER.warning(
                "no names of the classes are known: export.json has none; DATA.CLASS_NAMES FILE names them"
            )
        return {"classes": config.MODEL.NUM_CLASSES, "class_names": names}

    def page(self, folder: str, compare: Sequence[str]) -> Page:
        """Put the page of a run together; see `classifier_page`."""
        return classifier_page(folder, "Fine-tuning", "mae-finetune", compare, partial(scored_images, folder))


def build_classifier(config: Config) -> VisionTransformer:
    """Build a model with MODEL.NUM_CLASSES outputs."""
    m = config.MODEL
    return VisionTransformer(num_classes=m.NUM_CLASSES, global_pool=m.GLOBAL_POOL, **encoder_of(config, m.DROPPATH))


def finetune_loss(mixer: BatchMixer, model: nn.Layer, batch: Samples, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Mix a batch of images and score the model on it."""
    images, targets = mixer(batch.images, batch.labels, batch.indices, epoch)
    return soft_target_cross_entropy(model(images), targets), {}


TASK = Classification()
