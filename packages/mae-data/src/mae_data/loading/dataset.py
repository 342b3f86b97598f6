"""A dataset over a source of images whose augmentation is a pure function of (seed, epoch, index)."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mae_data.errors import DataError, ImageError, StoreError
from mae_data.images.bands import Bands, as_bands
from mae_data.images.geotiff import driver_of, is_scene
from mae_data.images.jpeg import DECODERS, JpegImage, open_lazily
from mae_data.images.native_code import native
from mae_data.images.nodata import as_nodata
from mae_data.images.scene import OpenScenes, Scene
from mae_data.images.stored import read_image
from mae_data.images.value_range import EIGHT_BITS, as_value_range
from mae_data.loading.bad_images import MOST, BadImages, pixel_flags, verify_command
from mae_data.rng import sample_rng
from mae_data.sources.file_source import count_turned
from mae_data.sources.open_source import open_source
from mae_data.sources.source import Fingerprint, Targets
from mae_data.transforms.pipelines import Picture, Transform

Key = int | tuple[int, int]
Sample = tuple[npt.NDArray[Any], Any, np.int64]


class OpenTargets(Protocol):
    """Opens a list with something else than a class beside each image; see `sources.annotated_list.open_targets`."""

    def __call__(
        self, root: str | os.PathLike[str], list_file: str | os.PathLike[str], *, allow_outside: bool, opt_in: str
    ) -> Targets: ...


class ListDataset:
    """The images of a list, or of another source, decoded and transformed; see `sources.open_source`.

    `dataset[key]`, with a key (epoch, index) or a plain index (epoch 0), gives (image [H, W, C] of the stored type,
    label int64, index int64). The label is -1 where the list has none; it is a row float32 [T] with `open_targets`.

    Args:
        root: folder that the list's paths are relative to.
        list_file: the list below `root`; of a source without lists, its name stands for a part (see `open_source`).
        transform: called with (image, generator), returns its pixels [H, W, C].
        seed: seed of the augmentation.
        channels: 3 for RGB, 1 for greyscale, to which 8-bit pictures are converted; or as many as all images have.
        value_range: white of unsigned integers (255: 8 bits, above: 16), or [low, high] of floats; see `read_image`.
        bands: the bands of each image that are taken, by number from 0 or by name; None: all. See `read_image`.
        exif: 8-bit pictures are turned upright by their EXIF tag.
        nodata: what stands for no data: a number, "nan", or "file" for what each file says; NaN is none in any case.
            It is filled with the mean. None: all values are data.
        mean: per channel, 0 and 1 the ends of the value range, for that; None fills in the lower end.
        coverage: images get a last channel, white where all of a pixel's values are data, black where none is.
        crops: how many samples of each image there are, one after the other: an epoch of few, large images has many.
        decoder: "exact" or "fast", for JPEG files; see `mae_data.images.jpeg.open_lazily`.
        reuse: keep the last image decoded, for samplers that ask for one several times in a row.
        labels: "required" or "optional".
        num_classes: when given, labels must be below it.
        on_error: what becomes of an image that cannot be read: "raise"; "skip" puts the next readable image of the list
            in its place, with its own label and index; "drop" gives an empty image, label -1 and index ~index (below
            0), which whoever asked leaves out.
        advice: ends the message about an image that cannot be read, after the command that finds them all.
        max_skipped: how many different images, counted over all workers, may be passed over; half of them at most.
        allow_outside: accept absolute paths and `..` in the list.
        opt_in: how the reader of a message sets `allow_outside`.
        open_targets: opens a list with other targets than a class; `labels` and `num_classes` then do not count.

    Raises:
        DataError: the list is faulty; on access, an image is (the message names its line and path).
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        list_file: str | os.PathLike[str],
        transform: Transform,
        *,
        seed: int = 0,
        channels: int = 3,
        value_range: float | Sequence[float] = 255,
        bands: Bands | None = None,
        exif: bool = True,
        nodata: float | str | None = None,
        mean: Sequence[float] | None = None,
        coverage: bool = False,
        crops: int = 1,
        decoder: str = "exact",
        reuse: bool = False,
        labels: str = "required",
        num_classes: int | None = None,
        on_error: str = "raise",
        advice: str = "",
        max_skipped: int = MOST,
        allow_outside: bool = False,
        opt_in: str = "allow_outside=True",
        open_targets: OpenTargets | None = None,
    ) -> None:
        if on_error not in ("raise", "skip", "drop"):
            raise ValueError(f"on_error={on_error!r}; use 'raise', 'skip' or 'drop'")
        if decoder not in DECODERS:
            raise ValueError(f"decoder={decoder!r}; use 'exact' or 'fast'")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed={seed}; use 0 to 2**64 - 1")
        self.limits = as_value_range(value_range)
        allowed: Any = {"allow_outside": allow_outside, "opt_in": opt_in}
        if open_targets:
            beside = open_targets(root, list_file, **allowed)
        else:
            images = open_source(root, list_file, labels=labels, num_classes=num_classes, **allowed)
            beside = Targets(images, images.labels)
        self.images, self.targets, self.target_type = beside.images, beside.values, beside.type
        self._beside = beside
        self.transform, self.seed, self.crops, self.channels = transform, seed, crops, channels
        self.bands, self.exif = as_bands(bands), exif
        self.nodata = as_nodata(nodata, mean, coverage)
        self.decoder, self.reuse = decoder, reuse
        self._scenes = OpenScenes()
        self._last: tuple[int, Picture] | None = None
        native()  # loaded before workers start: its warnings come once
        self.on_error, self.advice = on_error, advice
        verify = verify_command(root, list_file, allow_outside, beside.flags)
        verify += pixel_flags(channels, self.limits, self.bands, nodata)
        self.bad = BadImages(len(self.images), max_skipped, verify)

    def __len__(self) -> int:
        return len(self.images) * self.crops

    def fetch(self, keys: Iterable[Sequence[int]]) -> None:
        """Prepare for reading the samples of these (epoch, index), of one batch; see `Source.fetch`."""
        self.images.fetch(list(dict.fromkeys(index // self.crops for _, index in keys)))

    def describe(self, key: Key) -> str:
        """Name the place and path of a key, for messages."""
        return self.images.describe((key[1] if isinstance(key, tuple) else key) // self.crops)

    def describe_batch(self, indices: Iterable[int]) -> str:
        """Name the images of the first eight samples for messages."""
        return self.images.describe_batch(int(index) // self.crops for index in indices)

    def fingerprint(self) -> Fingerprint:
        """Return the number of images and a hash of what they are."""
        return self.images.fingerprint()

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a dataset of {len(self)}")

        def cut(picture: Picture) -> npt.NDArray[Any]:
            # The generator belongs to the place in the epoch: a replacement is not the twin of the same image at its
            # own place, and a mask is cut as its image is.
            return self.transform(picture, sample_rng(self.seed, epoch, index))

        place, crop = divmod(index, self.crops)
        for source in range(place, place + len(self.images)):
            source %= len(self.images)
            try:
                image = self._read(source)
                with self._named(source):  # a JPEG file is decoded here, a window of a scene read
                    array = cut(image)
                target = self._beside.read(source, image, cut)
            except StoreError:
                raise
            except DataError as error:
                self.pass_over(source, error)
                if self.on_error == "drop":
                    return self._nothing(), self._beside.missing, np.int64(~index)
                continue
            return array, target, np.int64(source * self.crops + crop)
        raise DataError(f"{self.images.name}: not one image of it can be read")

    def pass_over(self, index: int, error: DataError) -> None:
        """Count an image that cannot be used, by its place in the list.

        Raises:
            DataError: `on_error` is "raise", or there are too many.
        """
        if self.on_error == "raise":
            find = f"`{self.bad.verify}` finds all such images"
            raise DataError(f"{error}; {find}; {self.advice}" if self.advice else str(error)) from error
        self.bad.add(index, error)

    def _nothing(self) -> npt.NDArray[Any]:
        """Return an image that stands for one that cannot be read."""
        size: Any = getattr(self.transform, "size", None)
        assert size, "only a transform that says its size can leave images out"
        channels = self.channels + bool(self.nodata and self.nodata.coverage)
        return np.zeros((*size, channels), self.limits.dtype)

    def notes(self) -> list[str]:
        """Describe what a run should know of its images at its start, a line each."""
        looked, turned = count_turned(self.images) if self.limits == EIGHT_BITS else (0, 0)
        if not turned:
            return [*self.images.notes]
        done = "they are turned upright (EXIF True)" if self.exif else "they stay as stored (EXIF False)"
        return [*self.images.notes, f"{turned} of {looked} photographs looked at carry an EXIF rotation: {done}"]

    def skipped(self) -> list[str]:
        """Name what was passed over, a line each; none where all images were good."""
        return list(self.bad.lines(self.images.describe))

    def _read(self, index: int) -> Picture:
        if self._last and self._last[0] == index:
            return self._last[1]
        image = self._scenes.get(index, partial(self._scene, index)) or self._decode(index)
        if self.reuse:
            if isinstance(image, JpegImage):
                image.keep_decoded()
            self._last = (index, image)
        return image

    def open(self, index: int) -> Picture:
        """Open an image by its place in the list, for somebody who keeps it.

        Raises:
            DataError: it cannot be read; the message names its line and path.
        """
        return self._scene(index) or self._decode(index)

    def _decode(self, index: int) -> Picture:
        with self._named(index):
            data = self.images.read(index)
            is_plain = self.limits == EIGHT_BITS and self.channels in (1, 3)
            if is_plain and self.bands is None and self.nodata is None:
                return open_lazily(data, self.channels, self.decoder, self.exif)
            file = io.BytesIO(data)
            return read_image(file, self.channels, self.limits, bands=self.bands, exif=self.exif, nodata=self.nodata)

    def _scene(self, index: int) -> Scene | None:
        """Open an image that is read by windows; None for all others."""
        name = self.images.file(index)
        if name is None or driver_of(name) is None:  # photographs cost no more than this
            return None
        with self._named(index):
            return Scene(name, self.channels, self.limits, self.bands, self.nodata) if is_scene(name) else None

    @contextmanager
    def _named(self, index: int) -> Iterator[None]:
        """Let errors begin with an image's line and path."""
        try:
            yield
        except StoreError:
            raise
        except ImageError as error:
            raise DataError(f"{self.images.describe(index)}: {error.reason}") from error
        except DataError as error:
            raise DataError(f"{self.images.describe(index)}: {error}") from error
