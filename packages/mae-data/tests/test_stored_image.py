"""Reading images of any channels and depth: every bit arrives, and what contradicts the stated range is refused."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.formats import open_image
from mae_data.images.stored import inspect_image, read_image
from mae_data.images.value_range import Planes, as_value_range
from mae_data.loading.dataset import ListDataset
from mae_data.transforms.pipelines import make_eval_transform

RNG = np.random.default_rng(0)
WIDE = as_value_range(65535)
FLOATS = as_value_range([-10.0, 10.0])


def draw(shape, dtype="uint16"):
    if dtype.startswith("float"):
        return RNG.normal(size=shape).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def _filtered(kind, row, above, step):
    """Apply one of PNG's five filters to the bytes of a row."""
    left, corner = ([0] * step + list(line[:-step]) for line in (row, above))
    paeth = []
    for a, b, c in zip(left, above, corner, strict=True):
        distances = [abs(b - c), abs(a - c), abs(a + b - 2 * c)]
        paeth.append((a, b, c)[distances.index(min(distances))])
    average = [(a + b) // 2 for a, b in zip(left, above, strict=True)]
    predicted = ([0] * len(row), left, above, average, paeth)[kind]
    return bytes([kind]) + bytes((x - p) % 256 for x, p in zip(row, predicted, strict=True))


def _scanlines(pixels):
    step = 2 * pixels.shape[2]
    rows = [line.astype(">u2").tobytes() for line in pixels]
    above = [bytes(len(rows[0])), *rows[:-1]]
    return b"".join(_filtered(i % 5, row, up, step) for i, (row, up) in enumerate(zip(rows, above, strict=True)))


def png16(pixels, interlaced=False):
    """Write a 16-bit PNG by hand, each filter in turn."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = pixels.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [pixels[y::dy, x::dx] for y, x, dy, dx in passes] if interlaced else [pixels]
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, interlaced)
    data = zlib.compress(b"".join(_scanlines(part) for part in parts if part.size))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_all_16_bits(tmp_path, channels, interlaced):
    pixels = draw((23, 18, channels))
    (tmp_path / "a.png").write_bytes(png16(pixels, interlaced))
    image = read_image(tmp_path / "a.png", channels, WIDE)
    assert isinstance(image, Planes)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert inspect_image(tmp_path / "a.png") == (channels, np.uint16)


@pytest.mark.parametrize(
    ("dtype", "stated"),
    [
        ("uint8", 255), ("uint8", 200), ("uint16", 65535), ("uint16", 300), (">u2", 65535), ("float32", [-9, 9]),
        (">f4", [-9, 9]), ("float16", [-9, 9]), ("int16", [-1024, 3071]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(6, 7, 5), (6, 7)])
def test_npy(tmp_path, dtype, stated, shape):
    limits = as_value_range(stated)
    pixels = (RNG.random(shape) * limits.span + limits.low).astype(dtype)
    np.save(tmp_path / "a.npy", pixels)
    image = read_image(tmp_path / "a.npy", shape[2] if len(shape) == 3 else 1, limits)
    got = image.pixels if isinstance(image, Planes) else np.asarray(image)[:, :, None]
    assert got.dtype == limits.dtype
    np.testing.assert_array_equal(got, np.atleast_3d(pixels))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5, 6, 7), {"planarconfig": "separate", "photometric": "minisblack"}),
        ((6, 7, 5), {"planarconfig": "contig", "photometric": "minisblack"}),
        ((6, 7, 5), {"planarconfig": "contig", "photometric": "minisblack", "compression": "zlib"}),
        ((5, 6, 7), {"photometric": "minisblack"}),  # five pages
        ((6, 7, 4), {"photometric": "rgb"}),
        ((6, 7), {"byteorder": ">"}),
    ],
)
def test_tiff_of_any_bands(tmp_path, dtype, shape, options):
    tifffile = pytest.importorskip("tifffile")
    pixels = draw(shape, dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    expected = np.atleast_3d(pixels.transpose(1, 2, 0) if shape[0] == 5 else pixels)
    limits = {"uint8": as_value_range(255), "uint16": WIDE, "float32": FLOATS}[dtype]
    image = read_image(os.fsencode(tmp_path / "a.tif"), expected.shape[2], limits)
    got = image.pixels if isinstance(image, Planes) else np.asarray(image)[:, :, None]
    np.testing.assert_array_equal(got, expected)
    if dtype != "uint8":
        assert inspect_image(tmp_path / "a.tif") == (expected.shape[2], pixels.dtype)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "F"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_one_channel_tiff_needs_pillow_alone(tmp_path, monkeypatch, mode, compression):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    pixels = draw((6, 7), "float32" if mode == "F" else "uint16")
    stored = pixels.astype(">u2") if mode == "I;16B" else pixels
    Image.frombytes(mode, (7, 6), stored.tobytes()).save(tmp_path / "a.tif", compression=compression)
    image = read_image(tmp_path / "a.tif", 1, FLOATS if mode == "F" else WIDE)
    np.testing.assert_array_equal(image.pixels[:, :, 0], pixels)


def test_bands_without_tifffile_name_the_extra(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", draw((5, 6, 7)), photometric="minisblack", planarconfig="separate")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(
        DataError, match=r'a\.tif: a TIFF of several bands needs tifffile: pip install "mae-data\[tiff\]"'
    ):
        read_image(tmp_path / "a.tif", 5, WIDE)


def test_8_bit_bands_as_stored(tmp_path):
    pixels = draw((6, 7, 4), "uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 4).pixels, pixels)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png", 3)), pixels[:, :, :3])  # a picture
    np.save(tmp_path / "a.npy", pixels[:, :, :3])
    assert read_image(tmp_path / "a.npy", 3).mode == "RGB"  # augmented like any other


@pytest.mark.parametrize("channels", [1, 3])
def test_8_bit_pictures_are_what_they_were(tmp_path, channels):
    picture = Image.fromarray(draw((20, 30, 3), "uint8"))
    for name in ("a.jpg", "b.png", "c.tif", "d.gif", "e.ppm", "f.webp"):
        picture.save(tmp_path / name)
        image = read_image(tmp_path / name, channels)
        assert image.mode == {1: "L", 3: "RGB"}[channels]
        np.testing.assert_array_equal(np.asarray(image), np.asarray(open_image(tmp_path / name, channels)))


ONES = np.ones((4, 5, 2))
BAD = [
    (ONES.astype("uint16"), 3, 65535, "the image has 2 channels, 3 are asked for"),
    (ONES.astype("uint16"), 2, 255, "uint16 values, but the value range 255 is one of uint8: state the white"),
    (ONES.astype("uint8"), 2, 65535, "uint8 values, but the value range 65535 is one of uint16: 255 is that"),
    (ONES.astype("float32"), 2, 65535, r"float32 values, .* state the range of its floats as \[low, high\]"),
    (ONES.astype("uint16"), 2, [0, 65535], r"uint16 values, but the value range \[0, 65535\] is one of float32"),
    (ONES.astype("float64"), 2, [0, 1], "float64 values; save uint8, uint16 or float32"),
    (ONES.astype("int32"), 2, 65535, "int32 values; save"),
    (ONES.astype("uint16") * 9000, 2, 8000, "values from 9000 to 9000 leave the value range 8000; state a wider"),
    (ONES.astype("float32") * 1.5, 2, [-1, 1], r"values from 1.5 to 1.5 leave the value range \[-1, 1\]"),
    (np.where(ONES, np.nan, 0).astype("float32"), 2, [0, 1], "the image holds NaN or infinite"),
    (-np.inf * ONES.astype("float32"), 2, [0, 1], "the image holds NaN or infinite"),
    (np.ones((2, 4, 5, 2), "uint16"), 2, 65535, r"shape \(2, 4, 5, 2\) is not an image's"),
    (np.ones((0, 5, 2), "uint16"), 2, 65535, r"shape \(0, 5, 2\) is not an image's"),
    (np.array([["a"]]), 1, 255, "<U1 is not a type of pixels"),
    (np.array([[None]]), 1, 255, "object is not a type of pixels"),
]


@pytest.mark.parametrize(("pixels", "channels", "stated", "message"), BAD)
def test_what_contradicts_is_refused_by_file(tmp_path, pixels, channels, stated, message):
    np.save(tmp_path / "a.npy", pixels, allow_pickle=True)
    with pytest.raises(DataError, match=rf"^{tmp_path}/a\.npy: {message}"):
        read_image(tmp_path / "a.npy", channels, as_value_range(stated))


def test_a_float_at_the_end_of_a_range_is_inside(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0.1, 0.7]], np.float32))
    assert read_image(tmp_path / "a.npy", 1, as_value_range([0.1, 0.7])).pixels.shape == (1, 2, 1)


@pytest.mark.parametrize("make", [lambda p: png16(p), lambda p: _npy(p), lambda p: _tiff(p)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_off_files_are_refused(tmp_path, make, share):
    content = make(draw((20, 20, 3)))
    (tmp_path / "a").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a", 3, WIDE)
    assert str(caught.value).startswith(f"{tmp_path}/a: ")
    assert "\n" not in str(caught.value)


def _npy(pixels):
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def _tiff(pixels):
    buffer = io.BytesIO()
    pytest.importorskip("tifffile").imwrite(buffer, pixels, photometric="rgb")
    return buffer.getvalue()


@pytest.mark.parametrize("make", [lambda p: png16(p), lambda p: _npy(p), lambda p: _tiff(p)])
def test_large_images_are_refused_from_their_header(tmp_path, make):
    (tmp_path / "a").write_bytes(make(draw((10, 10, 3))))
    with pytest.raises(DataError, match="10x10 pixels are above the limit of 99"):
        read_image(tmp_path / "a", 3, WIDE, max_pixels=99)


@pytest.mark.parametrize(("head", "accepted"), [(b"P6 1 1 255\n", True), (b"P6\n# c\n1 1\n65535\n", False)])
def test_16_bit_ppm_is_refused(tmp_path, head, accepted):
    (tmp_path / "a.ppm").write_bytes(head + bytes(6 if not accepted else 3))
    if accepted:
        assert read_image(tmp_path / "a.ppm").size == (1, 1)
    else:
        with pytest.raises(DataError, match="16-bit PPM"):
            read_image(tmp_path / "a.ppm", 3, WIDE)


def test_a_data_set_of_16_bit_images_names_the_line_and_never_drops_bits(tmp_path):
    Image.fromarray(draw((8, 8))).save(tmp_path / "a.png")
    (tmp_path / "l.txt").write_text("a.png 0\n")
    transform = make_eval_transform(image_size=8, crop_pct=1.0)
    dataset = ListDataset(tmp_path, "l.txt", transform, channels=1)
    with pytest.raises(DataError, match=r"l\.txt:1 \(a\.png\): uint16 values, but the value range 255 is one of uint8"):
        dataset[0]
    dataset = ListDataset(tmp_path, "l.txt", transform, channels=1, value_range=65535)
    np.testing.assert_array_equal(dataset[0][0][:, :, 0], np.asarray(Image.open(tmp_path / "a.png")))
