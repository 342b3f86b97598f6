"""The readers that `fuzz.py` tries: small good files of each kind, the function that reads them, its own exceptions."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

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
    seeds += [
        encoded(smooth[..., 0], "JPEG"),
        *(encoded(PIXELS, kind) for kind in ("PNG", "BMP", "GIF", "TIFF", "WEBP")),
    ]

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
    seeds = [
        arrays.getvalue(),
        encoded(deep, "PNG"),
        encoded(deep, "TIFF"),
        encoded(deep, "TIFF", compression="tiff_lzw"),
    ]
    return seeds, lambda data: read_image(io.BytesIO(data), 1, as_value_range(65535)), (DataError,)


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


READERS: dict[str, Callable[[Path], Reader]] = {
    reader.__name__: reader for reader in (photographs, stored, lists, indexes, shards, weights, states, configs)
}
