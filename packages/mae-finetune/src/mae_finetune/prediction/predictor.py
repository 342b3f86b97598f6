"""A trained model that predicts what images in no list show, whatever its task: whole images, or their windows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from mae_core.errors import NonFiniteError, UserError
from mae_core.models import ViTEncoder
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import precision_of
from mae_core.stage.config.to_data_arguments import input_of
from mae_core.training.precision import Precision, RoundedWeights
from mae_data.images.windows import stitched
from mae_data.loading.bad_images import BadImages
from mae_data.loading.image_windows import ImageWindows
from mae_data.loading.loader import make_loader
from mae_data.loading.preprocess import Images, ModelInput
from mae_data.loading.sampler import EvalBatchSampler
from mae_data.transforms.pipelines import Picture
from mae_finetune.build import build_model, load_for_evaluation
from mae_finetune.prediction.batches import image_batches
from mae_finetune.prediction.results import Said

BATCH_SIZE = 32

SaidT = TypeVar("SaidT", bound=Said)


class ImageMap(NamedTuple):
    """What is said of an image, laid over it: float32 [rows, columns, K], and (height, width) of a cell."""

    values: NDArray[np.float32]
    cell: tuple[int, int]


class Predictor(ABC, Generic[SaidT]):
    """A trained model, ready for images.

    Args:
        opened: the config of its run, and its weights.

    Attributes:
        columns: the head of the table of predictions, after the image.
        ranks: whether `topk` means something.

    Raises:
        UserError: weights, config or names that do not fit.
    """

    columns: Sequence[str]
    ranks: ClassVar[bool] = False

    def __init__(self, opened: Opened) -> None:
        config = opened.config
        self.model: ViTEncoder = build_model(config)
        self.file = load_for_evaluation(config, opened.weights, self.model).file
        self.model.eval()
        with values_from_config():
            self.given = ModelInput(**input_of(config))
        self.precision: Precision = precision_of(config)
        self._weights = RoundedWeights()

    @abstractmethod
    def activate(self, outputs: Tensor) -> Tensor:
        """Turn outputs of the model, float32 [N, ...], into what is said of N images."""

    @abstractmethod
    def say(self, image: str, values: NDArray[np.float32], topk: int | None) -> SaidT:
        """Put into words what `activate` gave for an image."""

    @abstractmethod
    def bands(self, values: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
        """Return the bands of a map and their names, of what `activate` gave for its cells [rows, columns, K]."""

    def predict(
        self,
        images: Images,
        topk: int | None = None,
        batch_size: int = BATCH_SIZE,
        num_workers: int = 0,
        bad: BadImages | None = None,
    ) -> Iterator[SaidT]:
        """Yield a prediction for each image, in their order; a batch of them is in memory at a time.

        Args:
            images: paths, PIL images or uint8 arrays; see `mae_data.preprocess`.
            topk: classes to name, at most as many as there are, where one of several is said; None: 5.
            batch_size: images to a forward pass.
            num_workers: processes that decode a list of paths ahead, on Linux; 0 decodes in this process.
            bad: counts images that cannot be read, for which there is no prediction; None ends at the first.

        Raises:
            UserError: topk or batch_size is not positive, or topk is given where nothing is ranked.
            DataError: an image cannot be read, or too many; it is named.
            NonFiniteError: the model's output for an image is not finite.
        """
        self._require(topk, batch_size)
        for names, pixels in image_batches(images, self.given, batch_size, num_workers, bad):
            for name, values in zip(names, self._forward(pixels, names), strict=True):
                yield self.say(name, values, topk)

    def predict_windows(
        self,
        paths: Sequence[str],
        overlap: int = 0,
        topk: int | None = None,
        batch_size: int = BATCH_SIZE,
        num_workers: int = 0,
        bad: BadImages | None = None,
        on_map: Callable[[int, ImageMap], None] = lambda number, drawn: None,
    ) -> Iterator[SaidT]:
        """Yield a prediction for each window of each image, at native resolution; see `sliding_windows`.

        Windows mostly without data are left out.

        Args:
            paths: image files.
            overlap: pixels that neighbouring windows share.
            topk, batch_size, num_workers, bad: see `predict`.
            on_map: takes each image's number and what was said of it, stitched, once its last window is done.

        Raises:
            as `predict`.
        """
        self._require(topk, batch_size)
        size, given = self.model.img_size, replace(self.given, coverage=True)
        read = partial(_read, given, paths)
        dataset = ImageWindows(read, len(paths), size, given.channels, overlap, bad=bad)
        cell = size[0] - overlap, size[1] - overlap
        done: list[tuple[int, NDArray[np.float32]]] = []
        sampler = EvalBatchSampler(len(dataset), batch_size)
        for pixels, _, indices in make_loader(dataset, sampler, num_workers=num_workers):
            used = np.flatnonzero(indices.numpy() >= 0)
            if not used.size:
                continue
            numbers = indices.numpy()[used].tolist()
            said = [paths[dataset.images[i]] for i in numbers]
            array = self._forward(pixels[paddle.to_tensor(used)], said)
            for i, image, row in zip(numbers, said, array, strict=True):
                yield replace(self.say(image, row, topk), window=dataset.windows[i])
            for i, row in zip(numbers, array, strict=True):
                if done and dataset.images[done[0][0]] != dataset.images[i]:
                    on_map(*_map_of(dataset, done, cell))
                    done = []
                done.append((i, row))
        if done:
            on_map(*_map_of(dataset, done, cell))

    def _require(self, topk: int | None, batch_size: int) -> None:
        if (topk is not None and topk < 1) or batch_size < 1:
            raise UserError(f"topk={topk}, batch_size={batch_size}; give positive numbers")
        if topk is not None and not self.ranks:
            raise UserError(
                "topk is for models that name one class of several; this one says all it knows: leave it out"
            )

    @paddle.no_grad()
    def _forward(self, pixels: Tensor, names: Sequence[str]) -> NDArray[np.float32]:
        with self.precision.autocast(self._weights):
            outputs = self.model(pixels).astype("float32")
        array: NDArray[np.float32] = self.activate(outputs).numpy()
        finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if not finite.all():
            raise NonFiniteError(f"the model's output for {names[int(np.argmin(finite))]} is not finite")
        return array


def _map_of(
    dataset: ImageWindows, said: Sequence[tuple[int, NDArray[np.float32]]], cell: tuple[int, int]
) -> tuple[int, ImageMap]:
    """Stitch what was said of an image's windows; return the image's number, too."""
    number = int(dataset.images[said[0][0]])
    windows, rows = [dataset.windows[i] for i, _ in said], np.stack([row for _, row in said])
    return number, ImageMap(stitched(windows, rows, *dataset.sizes[number], cell), cell)


def _read(given: ModelInput, paths: Sequence[str], number: int) -> Picture:
    return given.read(paths[number])
