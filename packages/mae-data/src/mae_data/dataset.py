"""A dataset over a list of images whose augmentation is a pure function of (seed, epoch, index)."""

import logging
import os

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, ImageError
from mae_data.image_list import read_list
from mae_data.jpeg import DECODERS, JpegImage, open_lazily
from mae_data.pixels import native
from mae_data.transforms import Picture, Transform

Key = int | tuple[int, int]
Sample = tuple[npt.NDArray[np.uint8], np.int64, np.int64]

log = logging.getLogger(__name__)

# Philox key words after the seed: streams for different uses never meet.
AUGMENTATION_STREAM = 1
ORDER_STREAM = 2
MIXING_STREAM = 3


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Make the generator that augments sample `index` in `epoch`.

    It depends on nothing else: not on the worker, the rank or what was drawn before.

    Args:
        seed: Seed of the run, 0 to 2**64 - 1.
        epoch: Epoch number, from 0.
        index: Position of the sample in its list.
    """
    return np.random.Generator(philox(seed, AUGMENTATION_STREAM, epoch, index))


def philox(seed: int, stream: int, epoch: int, index: int = 0) -> np.random.Philox:
    """Make the counter-based bit generator of one (seed, stream, epoch, index)."""
    key = np.array([seed, stream], dtype=np.uint64)
    # Drawing counts up the first word; the others keep the streams of all samples apart.
    counter = np.array([0, 0, epoch, index], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter)


class ListDataset:
    """The images of a list file, decoded and transformed.

    `dataset[key]`, with a key (epoch, index) or a plain index (epoch 0), gives (image uint8 [H, W, C],
    label int64, index int64). The label is -1 where the list has none.

    Args:
        root: Folder that the list's paths are relative to.
        list_file: The list; a relative name is looked for below `root` first, then from here.
        transform: Called with (PIL image, generator), returns uint8 [H, W, C].
        seed: Seed of the augmentation.
        channels: 3 for RGB, 1 for greyscale.
        decoder: "exact" or "fast", for JPEG files; see `mae_data.jpeg.open_lazily`.
        reuse: Keep the last image decoded, for samplers that ask for one several times in a row.
        labels: "required" or "optional".
        num_classes: When given, labels must be below it.
        on_error: "raise", or "skip" to put the next readable image of the list in the place of one that
            cannot be read; it then carries its own label and index.
        advice: Ends the message about an image that cannot be read.
        max_skipped: With "skip", how many different images one process may skip before it raises.
        allow_outside: Accept paths that leave `root`.

    Raises:
        DataError: The list is faulty; on access, an image is (the message names its line and path).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        list_file: str | os.PathLike[str],
        transform: Transform,
        *,
        seed: int = 0,
        channels: int = 3,
        decoder: str = "exact",
        reuse: bool = False,
        labels: str = "required",
        num_classes: int | None = None,
        on_error: str = "raise",
        advice: str = "",
        max_skipped: int = 100,
        allow_outside: bool = False,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={on_error!r}; use 'raise' or 'skip'")
        if decoder not in DECODERS:
            raise ValueError(f"decoder={decoder!r}; use 'exact' or 'fast'")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed={seed}; use 0 to 2**64 - 1")
        self.images = read_list(list_file, root, labels=labels, num_classes=num_classes, allow_outside=allow_outside)
        self.transform = transform
        self.seed = seed
        self.channels = channels
        self.decoder = decoder
        self.reuse = reuse
        self._last: tuple[int, Picture] | None = None
        native()  # opened before workers start: what it has to say is said once
        self.on_error = on_error
        self.advice = advice
        self.max_skipped = max_skipped
        self._skipped: set[int] = set()

    def __len__(self) -> int:
        return len(self.images)

    def describe(self, key: Key) -> str:
        """Name the list's line and path of a key, for messages."""
        return self.images.describe(key[1] if isinstance(key, tuple) else key)

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a dataset of {len(self)}")
        for source in range(index, index + len(self)):
            source %= len(self)
            try:
                image = self._read(source)
                # The generator belongs to the place in the epoch: a replacement is not the twin of the
                # same image at its own place.
                array = self._apply(image, sample_rng(self.seed, epoch, index), source)
            except DataError as error:
                if self.on_error == "raise":
                    raise DataError(f"{error}; {self.advice}" if self.advice else str(error)) from error
                self._skip(source, error)
                continue
            return array, self.images.labels[source], np.int64(source)
        raise DataError(f"{self.images.list_file}: not one image of the list can be read")

    def _read(self, index: int) -> Picture:
        if self._last and self._last[0] == index:
            return self._last[1]
        image = self._open(index)
        if self.reuse:
            if isinstance(image, JpegImage):
                image.keep_decoded()
            self._last = (index, image)
        return image

    def _open(self, index: int) -> Picture:
        try:
            return open_lazily(self.images.file(index), self.channels, self.decoder)
        except ImageError as error:
            raise DataError(f"{self.images.describe(index)}: {error.reason}") from error

    def _apply(self, image: Picture, rng: np.random.Generator, index: int) -> npt.NDArray[np.uint8]:
        try:
            return self.transform(image, rng)
        except ImageError as error:  # a JPEG file is decoded here
            raise DataError(f"{self.images.describe(index)}: {error.reason}") from error
        except DataError as error:
            raise DataError(f"{self.images.describe(index)}: {error}") from error

    def _skip(self, index: int, error: DataError) -> None:
        """Log an unreadable image once; raise when there are too many of them."""
        if index in self._skipped:
            return
        if len(self._skipped) >= self.max_skipped:
            raise DataError(
                f"{error} (and {self.max_skipped} images were skipped before it, which is max_skipped); "
                "`mae-data verify` lists them all"
            ) from error
        self._skipped.add(index)
        log.warning("skipped: %s", error)
