"""What a task says of itself; training, evaluation, prediction, export and report ask it and know no task by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from paddle import Tensor, nn

from mae_core.evaluation.classifier import Counts, score_batches
from mae_core.training.plan import Samples
from mae_core.training.precision import Precision

if TYPE_CHECKING:
    from mae_core.export.ports import Port
    from mae_core.models import ViTEncoder
    from mae_core.report.page import Page
    from mae_core.stage.config.node import Config
    from mae_core.stage.run.model_card import Card
    from mae_data.loading.dataset import ListDataset
    from mae_finetune.prediction.predictor import Predictor

LossFn = Callable[[nn.Layer, Samples, int], tuple[Tensor, dict[str, float]]]  # (model, batch, epoch) -> loss, metrics


class OutputFacts(TypedDict, total=False):
    """What `export.json` says of the output beyond its shape; each task knows some of it.

    Attributes:
        classes, labels, numbers: how many there are.
        class_names, names: of each; None where nobody knows names.
        class_colours: red, green and blue of each.
        threshold: probability from which on a label counts as there.
        standardisation_undone_in_graph: mean and deviation of the training targets.
        prepare: what becomes of an image instead of a scaled crop of its centre.
        windows: how images of other sizes are cut.
    """

    classes: int
    labels: int
    numbers: int
    class_names: list[str | None] | None
    class_colours: list[list[int]]
    names: list[str]
    threshold: float
    standardisation_undone_in_graph: dict[str, list[float]]
    prepare: dict[str, object]
    windows: str


class Evaluation(ABC):
    """A list that is open to be scored.

    Args:
        config: of the run.
        dataset: its images with their targets.

    Attributes:
        usual_best: the figure that makes the best checkpoint, where TRAIN.BEST_BY names none.
    """

    usual_best: ClassVar[str]

    def __init__(self, config: Config, dataset: ListDataset) -> None:
        self.config, self.dataset = config, dataset

    @property
    def best_by(self) -> str:
        """The figure that makes the best checkpoint; of `training.validation.LOWER_IS_BETTER` the lowest.

        Raises:
            ConfigError: the one that was asked for will not be known.
        """
        return self.config.TRAIN.BEST_BY or self.usual_best

    @abstractmethod
    def counts(self, model: nn.Layer) -> Counts:
        """Return empty counts, which `score` fills."""

    @abstractmethod
    def figures(self, counts: Any) -> dict[str, float]:
        """Return what a validation logs: figures by name."""

    @abstractmethod
    def report(self, counts: Any, seconds: float, output: str) -> dict[str, float]:
        """Log the figures of `-eval`, write its tables to `output/eval`, and return the figures.

        Args:
            seconds: how long scoring took.
        """

    def score(
        self,
        model: nn.Layer,
        batches: Iterable[Samples],
        precision: Precision,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Counts | None:
        """Score a model in evaluation mode; None when any rank was asked to stop early."""
        name = self.dataset.images.describe
        return score_batches(model, batches, self.counts(model), precision, should_stop=should_stop, name=name)


class Task(ABC):
    """One kind of prediction.

    Attributes:
        card: what a run's model card says.
        predictor: makes a trained model ready for images.
        evaluation: scores a model on a list.
        head_keys: config keys of MODEL that the head is built by.
        sees_batches: whether the loss of an image depends on the others of its batch, as with batch norm.
    """

    card: Card
    predictor: ClassVar[type[Predictor[Any]]]
    evaluation: ClassVar[type[Evaluation]]
    sees_batches: bool = False
    head_keys: Sequence[str] = ("MODEL.NUM_CLASSES", "MODEL.GLOBAL_POOL")

    @abstractmethod
    def build(self, config: Config) -> ViTEncoder:
        """Build the model; the seed is set."""

    @abstractmethod
    def train_dataset(self, config: Config) -> ListDataset:
        """Open the training list."""

    @abstractmethod
    def eval_dataset(self, config: Config, list_name: str | None = None, *, dropping: bool = False) -> ListDataset:
        """Open a list (default: the validation list) for its images, whether or not it has targets.

        Args:
            dropping: whether DATA.ON_ERROR holds; see `images_of`.
        """

    @abstractmethod
    def take_in(self, config: Config, model: ViTEncoder, images: ListDataset) -> None:
        """Let a new model keep what it needs of its training list, such as the classes' names."""

    def measure_start(  # noqa: B027 -- most tasks measure nothing
        self, config: Config, model: ViTEncoder, images: ListDataset, precision: Precision, folder: Path
    ) -> None:
        """Write into a run's folder what a model has to beat that was not trained yet, on images to train."""

    @abstractmethod
    def loss(self, config: Config, images: ListDataset) -> LossFn:
        """Return the loss of a training batch."""

    def open_evaluation(self, config: Config, *, dropping: bool = False) -> Evaluation:
        """Open the validation list to be scored; see `eval_dataset`."""
        return self.evaluation(config, self.eval_dataset(config, dropping=dropping))

    @abstractmethod
    def output(self, config: Config) -> Port:
        """Describe the output of an exported model."""

    @abstractmethod
    def facts(self, config: Config, model: ViTEncoder) -> OutputFacts:
        """Return what `export.json` says of the output beyond its shape."""

    @abstractmethod
    def page(self, folder: str, compare: Sequence[str]) -> Page:
        """Put the page of a run together.

        Args:
            compare: figures of other runs, `NAME=RUN|FIGURE`.
        """
