"""The readers that `fuzz.py` tries: small good files of each kind, the function that reads them, its own exceptions."""

import contextlib
import gzip
import importlib.util
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, features

Reader = tuple[list[bytes], Callable[[bytes], object], tuple[type[BaseException], ...]]
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    """Encode an image with Pillow."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def photographs(folder: Path) -> Reader:
    """Pictures of 8 bits, decoded whole and in crops by the native code."""
    from mae_data.errors import DataError
    from mae_data.images import native_code
    from mae_data.images.jpeg import open_lazily
    from mae_data.transforms.crops import resized_crop

    if library := os.environ.get("MAE_FUZZ_PIXELS"):
        native_code.LIBRARY = Path(library)
        assert native_code.native(), "the library with sanitizers does not load"
    smooth = np.asarray(Image.fromarray(PIXELS).resize((112, 80)))
    seeds = [encoded(smooth, "JPEG", quality=q, progressive=p, subsampling=s) for q, p, s in ((90, 0, 0), (60, 1, 2))]
    seeds += [encoded(smooth[..., 0], "JPEG")]
    seeds += [encoded(PIXELS, kind) for kind in ("PNG", "BMP", "GIF", "TIFF", "WEBP")]

    def read(data: bytes) -> None:
        image = open_lazily(data)
        resized_crop(image, (3, 2, 20, 17), (16, 16))

    return seeds, read, (DataError,)


def stored(folder: Path) -> Reader:
    """Images of 16 bits and several bands."""
    from mae_data.errors import DataError
    from mae_data.images.stored import read_image
    from mae_data.images.value_range import as_value_range

    deep, arrays = PIXELS[..., 0].astype(np.uint16) * 257, io.BytesIO()
    np.save(arrays, deep)
    seeds = [arrays.getvalue(), encoded(deep, "PNG")]
    seeds += [encoded(deep, "TIFF"), encoded(deep, "TIFF", compression="tiff_lzw")]
    return seeds, lambda data: read_image(io.BytesIO(data), 1, as_value_range(65535)), (DataError,)


def volumes(folder: Path) -> Reader:
    """Slices of NIfTI volumes; frames of DICOM files, where pydicom is installed."""
    from mae_data.errors import DataError
    from mae_data.images.stored import read_image
    from mae_data.images.value_range import as_value_range
    from mae_data.images.volumes.nifti import write_slice

    alone = write_slice(PIXELS[..., 0].astype(np.int16))
    volume = bytearray(alone)
    volume[16:48] = np.array([3, 7, 8, 40], "<i8").tobytes()
    seeds = [alone, bytes(volume), gzip.compress(bytes(volume)), *_dicom_files()]

    def read(data: bytes) -> None:
        (folder / "volume").write_bytes(data)
        for place in ("", "[0]", "[:,:,3]", "[:,1,:]"):
            with contextlib.suppress(DataError):
                read_image(folder / f"volume{place}", 1, as_value_range([0, 255]))

    return seeds, read, (DataError,)


def _dicom_files() -> list[bytes]:
    if importlib.util.find_spec("pydicom") is None:
        return []
    from pydicom.data import get_testdata_file

    names = ("MR_small.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd_jpeg.dcm", "rtdose_rle.dcm", "image_dfl.dcm",
             "MR_small_jp2klossless.dcm", "examples_palette.dcm")  # fmt: skip
    found = [get_testdata_file(name, download=False) for name in names]
    return [Path(name).read_bytes() for name in found if name]


def arrays(folder: Path) -> Reader:
    """Arrays of images with their labels: IDX, packed too, and NumPy's."""
    from mae_data.errors import DataError
    from mae_data.sources.folders.folder_index import index_folder

    images, labels, saved = PIXELS[:12].transpose(0, 2, 1).copy(), np.arange(12, dtype=np.uint8), io.BytesIO()
    np.save(saved, images)
    idx = [
        bytes([0, 0, 8, a.ndim]) + b"".join(n.to_bytes(4, "big") for n in a.shape) + a.tobytes()
        for a in (images, labels)
    ]

    def read(data: bytes) -> None:
        for names in (("images.npy", "labels.npy"), ("images-idx3-ubyte", "labels-idx1-ubyte")):
            for place, name in enumerate(names):
                folders = folder / names[0] / ("as images", "as labels")[place]
                folders.mkdir(parents=True, exist_ok=True)
                for other, good in zip(names, idx, strict=True):
                    (folders / other).write_bytes(good)
                (folders / name).write_bytes(data)
                with contextlib.suppress(DataError):
                    index_folder(folders)

    return [*idx, *map(gzip.compress, idx), saved.getvalue()], read, (DataError,)


def telephone_pictures(folder: Path) -> Reader:
    """HEIC and AVIF, those that can be read here."""
    from mae_data.errors import DataError
    from mae_data.images.stored import read_image

    seeds = [encoded(PIXELS, "AVIF")] if "avif" in features.modules and features.check("avif") else []
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        file = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(file)
        seeds.append(file.getvalue())
    return seeds or [encoded(PIXELS, "PNG")], lambda data: read_image(io.BytesIO(data)), (DataError,)


def lists(folder: Path) -> Reader:
    """Image lists."""
    from mae_data import read_list
    from mae_data.errors import DataError, InputError

    text = "".join(f"class {i % 3}/image {i}.jpg {i % 3}\n" for i in range(40)).encode()

    def read(data: bytes) -> None:
        (folder / "list.txt").write_bytes(data)
        read_list(folder / "list.txt")

    return [text, text.replace(b"\n", b"\r\n"), "übung/ß.png 0\n".encode()], read, (DataError, InputError)


def indexes(folder: Path) -> Reader:
    """Kept indexes, as the cache and the shards have them."""
    from mae_data.errors import DataError
    from mae_data.sources.index_file import open_index
    from mae_data.sources.tar_index import write_tar_index

    (folder / "shards").mkdir(exist_ok=True)
    (folder / "shards/0.tar").write_bytes(archive())
    path = folder / "shards/index"
    write_tar_index(folder / "shards", ["0.tar"], path)
    seeds = [path.read_bytes()]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        open_index(path)

    return seeds, read, (DataError, ValueError)


def archive() -> bytes:
    """Make a tar of pictures with labels."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in (("a.jpg", encoded(PIXELS, "JPEG")), ("a.cls", b"1"), ("b.jpg", b"x"), ("b.cls", b"0")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def shards(folder: Path) -> Reader:
    """Tar files."""
    from mae_data.errors import DataError
    from mae_data.sources.tar_index import scan_tar

    def read(data: bytes) -> None:
        (folder / "shard.tar").write_bytes(data)
        scan_tar(folder / "shard.tar")

    return [archive()], read, (DataError,)


def weights(folder: Path) -> Reader:
    """Weight files: safetensors, PyTorch's zip, Paddle's pickles."""
    import mae_core
    from mae_core.errors import UserError
    from mae_core.process.runtime import import_paddle

    import_paddle()
    from mae_core.training.checkpoints.checkpoint import save_checkpoint
    from mae_core.training.optim import build_adamw
    from mae_core.weights.checkpoint_state import State
    from mae_core.weights.convert import convert
    from mae_core.weights.sources import read_weights

    model = mae_core.MaskedAutoencoderViT(
        img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2,
        decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2,
    )  # fmt: skip
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    save_checkpoint(checkpoints, model, build_adamw(model), State(1))
    (step,) = checkpoints.glob("step_*")
    seeds = [(step / "model.safetensors").read_bytes()]
    for name in ("weights.pth", "weights.pdparams"):
        convert(step, folder / name)
        seeds.append((folder / name).read_bytes())

    def read(data: bytes) -> None:
        kind = "pth" if data[:2] == b"PK" else "pdparams" if data[:1] == b"\x80" else "safetensors"
        (folder / f"mutant.{kind}").write_bytes(data)
        read_weights(folder / f"mutant.{kind}")

    return seeds, read, (UserError,)


def states(folder: Path) -> Reader:
    """The record beside a checkpoint's weights."""
    from mae_core.weights.checkpoint_state import decode_state

    weights(folder)  # leaves a checkpoint
    (step,) = (folder / "checkpoints").glob("step_*")
    return [(step / "state.json").read_bytes()], decode_state, (ValueError,)


def configs(folder: Path) -> Reader:
    """Config files."""
    from mae_core.errors import UserError
    from mae_core.stage.config.yaml_file import read_yaml

    text = b"BASE: ['']\nDATA: {IMAGE_SIZE: [16, 24], CROP_SCALE: [0.2, 1.0]}\nMODEL:\n  NAME: x\nTRAIN: {LR: 1e-3}\n"

    def read(data: bytes) -> None:
        (folder / "config.yaml").write_bytes(data)
        read_yaml(folder / "config.yaml")

    return [text], read, (UserError,)


_ALL = (photographs, stored, volumes, arrays, telephone_pictures, lists, indexes, shards, weights, states, configs)
READERS: dict[str, Callable[[Path], Reader]] = {reader.__name__: reader for reader in _ALL}
