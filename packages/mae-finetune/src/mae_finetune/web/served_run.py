"""A fine-tuned run's answers on one image, as plain values and PNGs that a page shows."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.report.image_server import MAX_PIXELS, File, ImageServer, data_uri, name_of, taken_images, unusable
from mae_core.stage.config.from_weights import load_config
from mae_core.stage.config.node import Config
from mae_data.drawing import ShownBands
from mae_data.errors import DataError, ImageError
from mae_data.images.jpeg import JpegImage
from mae_data.transforms.crops import resized_crop
from mae_data.transforms.pipelines import Picture, Size
from mae_finetune.build import shown_bands
from mae_finetune.config import RECIPE
from mae_finetune.prediction.predictor import Predictor
from mae_finetune.prediction.results import Guess, Prediction
from mae_finetune.segmentation.prediction import MaskPredictor
from mae_finetune.tasks import task_of
from mae_finetune.tasks.multilabel import Labelled
from mae_finetune.tasks.regression import MeasuredImage
from mae_finetune.tasks.row_scores import THRESHOLD

SIDE = 1024  # pixels of the longer side of a segmented image, at most, as the page shows it
_FILES: dict[str, File] = {
    "/": ("mae_finetune.web", "page/index.html", "text/html; charset=utf-8"),
    "/page.js": ("mae_finetune.web", "page/page.js", "text/javascript; charset=utf-8"),
}


class ServedRun:
    """A fine-tuned model that says what it says of images.

    Args:
        predictor: of the model.
        task: MODEL.TASK.
        shown: how images are drawn.
        name: what to call it.
    """

    def __init__(self, predictor: Predictor[Any], task: str, shown: ShownBands, name: str) -> None:
        self.predictor, self.task, self.shown, self.name = predictor, task, shown, name
        given = predictor.given
        self.takes = taken_images(given.channels, given.value_range, given.bands)

    @classmethod
    def load(cls, path: str, amp: bool = False) -> "ServedRun":
        """Load a run folder, checkpoint folder or weight file.

        Raises:
            UserError: weights or config that cannot be used.
        """
        opened = load_config(RECIPE, None, {"MODEL.PRETRAINED": path, **({"AMP": True} if amp else {})}, whole=True)
        config: Config = opened.config
        return cls(task_of(config).predictor(opened), config.MODEL.TASK, shown_bands(config), name_of(Path(path)))

    def server(self, host: str) -> ImageServer:
        """Return what answers the page's requests."""
        answers = {"/predict": lambda data, asked: self.predict(data)}
        return ImageServer(answers, {"name": self.name, "task": self.task, "takes": self.takes}, _FILES, host)

    def predict(self, data: bytes) -> dict[str, object]:
        """Say what an image file shows.

        Returns:
            `image`, a picture as a URL, and what the task says: `classes`; `labels` and `threshold`; `numbers`; or
            `segments` and `mask`.

        Raises:
            DataError: data is no usable image.
        """
        picture = self._read(data)
        if isinstance(self.predictor, MaskPredictor):
            return self._segment(self.predictor, picture, data)
        (said,) = self.predictor.predict([io.BytesIO(data)])
        return {"image": self._drawn(self.predictor.given.transform(picture)), **_values(said)}

    def _read(self, data: bytes) -> Picture:
        try:
            picture = self.predictor.given.read(io.BytesIO(data), MAX_PIXELS)
        except ImageError as error:
            raise DataError(unusable(error.reason, self.takes)) from None
        return picture.decoded() if isinstance(picture, JpegImage) else picture

    def _segment(self, predictor: MaskPredictor, picture: Picture, data: bytes) -> dict[str, object]:
        ((name, classes, _),) = predictor.segment([io.BytesIO(data)])
        whole = picture.height, picture.width
        share = min(1.0, SIDE / max(whole))
        size = max(1, round(whole[0] * share)), max(1, round(whole[1] * share))
        segments = [
            {"name": s.name, "share": s.share, "colour": predictor.colours[s.label].tolist()}
            for s in predictor.describe(name, classes, None).shares
        ]
        return {
            "image": self._drawn(resized_crop(picture, (0, 0, *whole), size)),
            "mask": data_uri(_painted(_nearest(classes, size), predictor.colours, predictor.nodata)),
            "segments": segments,
        }

    def _drawn(self, pixels: NDArray[Any]) -> str:
        limits = self.predictor.given.limits
        return data_uri(self.shown((pixels.astype(np.float32) - limits.low) / limits.span))


def _values(said: Prediction | Labelled | MeasuredImage) -> dict[str, object]:
    if isinstance(said, Prediction):
        return {"classes": [_guess(guess) for guess in said.guesses]}
    if isinstance(said, Labelled):
        labels = sorted(said.labels, key=lambda guess: -guess.probability)
        return {"labels": [_guess(guess) for guess in labels], "threshold": THRESHOLD}
    return {"numbers": [{"name": number.name, "value": number.value} for number in said.numbers]}


def _guess(guess: Guess) -> dict[str, object]:
    return {"name": guess.name, "probability": guess.probability}


def _nearest(classes: NDArray[np.integer], size: Size) -> NDArray[np.integer]:
    """Shrink a mask [H, W] to a size, each pixel the one at its centre."""
    rows, columns = (
        (2 * np.arange(side) + 1) * length // (2 * side) for side, length in zip(size, classes.shape, strict=True)
    )
    return classes[rows[:, None], columns[None]]


def _painted(classes: NDArray[np.integer], colours: NDArray[np.uint8], nodata: int | None) -> NDArray[np.uint8]:
    """Give each pixel of a mask [H, W] the colour of its class -> [H, W, 4]; clear where there is no data."""
    known = np.ones(classes.shape, np.bool_) if nodata is None else classes != nodata
    return np.dstack([colours[np.where(known, classes, 0)], np.uint8(255) * known.astype(np.uint8)])
