"""What a segmentation model says of images that are in no list: the class of each pixel, in files on wish."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paddle import Tensor
from paddle.nn import functional as F

from mae_core.errors import UserError
from mae_core.files import temporary_path
from mae_core.stage.config.from_weights import Opened
from mae_data.images.geotiff import has_place, write_class_map
from mae_data.images.jpeg import JpegImage
from mae_data.images.mask import write_mask
from mae_data.images.value_range import limits_of
from mae_data.images.windows import Window
from mae_data.loading.bad_images import BadImages
from mae_data.loading.preprocess import Images, OneImage
from mae_data.sources.list_file import class_colours
from mae_data.transforms.crops import resized_crop
from mae_data.transforms.pipelines import Picture
from mae_finetune.class_names import known_names
from mae_finetune.prediction.batches import read_each
from mae_finetune.prediction.predictor import BATCH_SIZE, Predictor
from mae_finetune.prediction.results import printable
from mae_finetune.segmentation.sliding import Segmenter, Strip


@dataclass(frozen=True)
class Share:
    """A class, its name, and its share of an image's pixels that hold data, from 0 to 1."""

    label: int
    name: str
    share: float


@dataclass(frozen=True)
class SegmentedImage:
    """What is said of one image: its path, or its place in the input, and the classes that occur, the largest first.

    Attributes:
        mask: the file that holds the class of each pixel; None where none was asked for.
        window: None: it is said of all of the image.
    """

    image: str
    mask: str | None
    shares: tuple[Share, ...]
    window: Window | None = None

    def line(self) -> str:
        """Say it for people."""
        shares = ", ".join(f"{printable(share.name)} {100 * share.share:.1f} %" for share in self.shares)
        return f"{printable(self.image)}: {shares or 'no data'}" + (f"; {self.mask}" if self.mask else "")

    def rows(self) -> Iterator[Sequence[object]]:
        """Return a line for each class: mask, label, name, share."""
        for share in self.shares:
            yield [self.mask or "", share.label, share.name, f"{share.share:.6g}"]


@dataclass(frozen=True)
class MaskFiles:
    """Where masks go: PNG with a palette, or GeoTIFF of an image that says where it lies.

    Args:
        folder: it holds a file for each image, named as the image.
        probabilities: whether `.npy` files float16 [K, H, W] are written, too; NaN where there is no data.
        nodata: what masks hold where there is no data; None: nothing stands for that.
    """

    folder: Path
    probabilities: bool = False
    nodata: int | None = None

    def write(self, image: str, classes: NDArray[np.integer], colours: NDArray[np.uint8]) -> Path:
        """Write the mask of an image; return its file."""
        stem = self.folder / Path(image).stem
        if has_place(image):
            path = stem.with_name(stem.name + ".tif")
            write_class_map(path, classes, colours, image, self.nodata)
        else:
            path = stem.with_name(stem.name + ".png")
            write_mask(path, classes, colours)
        return path


class MaskPredictor(Predictor[SegmentedImage]):
    """A trained segmentation model, ready for images; see `Predictor`."""

    columns = ("mask", "label", "name", "share")

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened)
        self.names = known_names(opened.config, self.model)
        self.colours = class_colours(opened.config.DATA.DATA_PATH, len(self.names))
        self.nodata: int | None = None if self.given.nodata is None else opened.config.DATA.IGNORE
        self._dtype = np.uint8 if max(len(self.names) - 1, self.nodata or 0) < 256 else np.uint16

    def activate(self, outputs: Tensor) -> Tensor:
        """Return probabilities [N, K, H, W]."""
        return F.softmax(outputs, axis=1)

    def say(self, image: str, values: NDArray[np.float32], topk: int | None) -> SegmentedImage:
        """Name the classes of probabilities [K, H, W]."""
        return self.describe(image, values.argmax(axis=0), None)

    def bands(self, values: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
        """Return the likeliest class and the probability of each."""
        label = values.argmax(axis=-1)[..., None].astype(np.float32)
        return ["label", *self.names], np.concatenate([label, values], axis=-1)

    def predict_windows(self, *args: Any, **kwargs: Any) -> Iterator[SegmentedImage]:
        """Refuse: what is said of the windows of an image is one mask; see `predict`."""
        raise UserError("of a segmentation model, windows are laid together to one mask: predict(images, overlap=...)")

    def predict(
        self,
        images: Images,
        topk: int | None = None,
        batch_size: int = BATCH_SIZE,
        num_workers: int = 0,
        bad: BadImages | None = None,
        *,
        overlap: int | None = None,
        files: MaskFiles | None = None,
    ) -> Iterator[SegmentedImage]:
        """Yield what is said of each image, in their order.

        Args:
            images: paths, PIL images or uint8 arrays, of any size.
            topk: refused.
            batch_size: windows to a forward pass.
            num_workers: not used: windows are cut in this process.
            bad: counts images that cannot be read, of which nothing is said; None ends at the first.
            overlap: pixels that neighbouring windows share; None: a third of a side.
            files: where masks are written; None: nowhere. Pixels of which no band holds data have DATA.IGNORE there.

        Raises:
            as `Predictor.predict`.
        """
        if topk is not None or batch_size < 1:
            raise UserError(f"topk={topk}, batch_size={batch_size}; leave topk out, and give a positive batch_size")
        files = files and replace(files, nodata=self.nodata)
        for name, classes, probabilities in self.segment(images, batch_size, bad, overlap, files):
            mask = files.write(name, classes, self.colours) if files else None
            if probabilities and mask:
                os.replace(probabilities, mask.with_suffix(".npy"))
            yield self.describe(name, classes, None if mask is None else str(mask))

    def segment(
        self,
        images: Images,
        batch_size: int = BATCH_SIZE,
        bad: BadImages | None = None,
        overlap: int | None = None,
        files: MaskFiles | None = None,
    ) -> Iterator[tuple[str, NDArray[np.integer], Path | None]]:
        """Yield of each image its name, the class of each pixel [H, W], and a file of probabilities where asked for."""
        segmenter = Segmenter(self.model, self.precision, overlap, batch_size)
        pictures = deque[Picture]()
        classes: NDArray[Any] = np.zeros((0, 0))
        kept: _Probabilities | None = None
        for strip in segmenter.segment(self._pictures(images, bad, pictures)):
            if strip.top == 0:
                picture = pictures.popleft()
                classes = np.zeros((picture.height, picture.width), self._dtype)
                wanted = files is not None and files.probabilities
                kept = _Probabilities(files.folder, strip, len(classes)) if files and wanted else None
            rows = slice(strip.top, strip.top + strip.scores.shape[1])
            empty = self._without_data(picture, strip)
            classes[rows] = np.where(empty, self.nodata or 0, strip.scores.argmax(axis=0).numpy())
            if kept:
                kept.values[:, rows] = np.where(empty, np.nan, F.softmax(strip.scores, axis=0).numpy())
            if strip.last:
                yield strip.name, classes, kept.close() if kept else None

    def _pictures(self, images: Images, bad: BadImages | None, opened: deque[Picture]) -> Iterator[tuple[str, Picture]]:
        for name, picture in read_each(images, self._open, bad):
            opened.append(picture)
            yield name, picture

    def _open(self, image: OneImage) -> Picture:
        picture = replace(self.given, coverage=True).picture(image)
        return picture.decoded() if isinstance(picture, JpegImage) else picture

    def _without_data(self, picture: Picture, strip: Strip) -> NDArray[np.bool_]:
        """Return of which pixels of a strip [rows, W] no band holds data; where nothing stands for that, [1, 1]."""
        if self.nodata is None:
            return np.zeros((1, 1), np.bool_)
        size = strip.scores.shape[1], picture.width
        coverage: NDArray[Any] = resized_crop(picture, (strip.top, 0, *size), size)[..., -1]
        return coverage == limits_of(picture).low

    def describe(self, image: str, classes: NDArray[np.integer], mask: str | None) -> SegmentedImage:
        """Say what share of an image each class has.

        Args:
            classes: of each pixel, [H, W].
            mask: the file that holds them.
        """
        known = classes if self.nodata is None else classes[classes != self.nodata]
        counts = np.bincount(known.ravel(), minlength=len(self.names)) / max(known.size, 1)
        order = np.argsort(-counts, kind="stable")
        shares = tuple(Share(int(c), self.names[c], float(counts[c])) for c in order if counts[c])
        return SegmentedImage(image, mask, shares)


class _Probabilities:
    """A `.npy` file float16 [K, H, W] that is filled row by row under a temporary name."""

    def __init__(self, folder: Path, strip: Strip, height: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = temporary_path(folder / "probabilities.npy")
        shape = (strip.scores.shape[0], height, strip.scores.shape[2])
        self.values = np.lib.format.open_memmap(self._path, "w+", np.float16, shape)

    def close(self) -> Path:
        """Write all of it; return its file."""
        self.values.flush()
        return self._path
