"""What a classifier says of images that are in no list."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from paddle import Tensor
from paddle.nn import functional as F

from mae_core.stage.config.from_weights import Opened
from mae_data.images.windows import Window
from mae_finetune.class_names import known_names
from mae_finetune.predicted import printable, where
from mae_finetune.predictor import Predictor

TOPK = 5


@dataclass(frozen=True)
class Guess:
    """A class, its name (its number where nobody knows names), and the probability that the model gives it."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What is said of one image: its path, or its place in the input, and the likeliest classes, the best first.

    Attributes:
        window: the part of the image that it is said of; None: all.
    """

    image: str
    guesses: tuple[Guess, ...]
    window: Window | None = None

    def line(self) -> str:
        """Return it as a line for people."""
        guesses = (f"{printable(guess.name)} {guess.probability:.4f}" for guess in self.guesses)
        return f"{where(self)}: {', '.join(guesses)}"

    def rows(self) -> Iterator[Sequence[object]]:
        """Return a line for each class: rank from 1, label, name, probability.

        Examples:
            >>> list(Prediction("a.jpg", (Guess(1, "cat", 0.75), Guess(0, "dog", 0.25))).rows())
            [[1, 1, 'cat', '0.75'], [2, 0, 'dog', '0.25']]
        """
        for rank, guess in enumerate(self.guesses, 1):
            yield [rank, guess.label, guess.name, f"{guess.probability:.6g}"]


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
