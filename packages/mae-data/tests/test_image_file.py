import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.formats import open_image


def png(width, height, depth, colour_type, rows=b""):
    """Assemble a PNG by hand: kinds that Pillow does not write, and sizes nobody wants to decode."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def saved(tmp_path):
    def save(image, name="a.png", **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def pixels(path, channels=3):
    image = open_image(path, channels)
    assert image.mode == {1: "L", 3: "RGB"}[channels]
    return np.asarray(image)


def test_rgb_and_grey(saved):
    colour = np.array([[[10, 20, 30], [200, 100, 0]]], np.uint8)
    path = saved(Image.fromarray(colour))
    np.testing.assert_array_equal(pixels(path), colour)
    luma = colour @ [0.299, 0.587, 0.114]  # ITU-R 601
    np.testing.assert_allclose(pixels(path, 1), luma, atol=1)

    grey = np.array([[0, 7, 255]], np.uint8)
    path = saved(Image.fromarray(grey))
    np.testing.assert_array_equal(pixels(path, 1), grey)
    np.testing.assert_array_equal(pixels(path), np.repeat(grey[:, :, None], 3, 2))


def test_path_kinds(saved):
    path = saved(Image.new("RGB", (1, 1), (1, 2, 3)), "é 1.png")
    for name in (path, str(path), str(path).encode()):
        assert pixels(name).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 255, 0), (255, 255, 0)), ((0, 0, 0, 128), (127, 127, 127))],
)
def test_cmyk(saved, cmyk, rgb):
    path = saved(Image.new("CMYK", (8, 8), cmyk), "a.jpg", quality=100)
    np.testing.assert_allclose(pixels(path)[4, 4], rgb, atol=3)
    np.testing.assert_allclose(pixels(path, 1)[4, 4], np.dot(rgb, [0.299, 0.587, 0.114]), atol=4)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_is_scaled_and_not_clipped(saved, name):
    values = np.array([[0, 255, 256, 1000, 32768, 65535]], np.uint16)
    path = saved(Image.fromarray(values), name)
    np.testing.assert_array_equal(pixels(path, 1), values // 256)
    np.testing.assert_array_equal(pixels(path)[..., 2], values // 256)


def test_16_bit_pgm_and_big_endian_tiff(tmp_path, saved):
    values = np.array([[0, 256, 40000, 65535]], np.uint16)
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 65535\n" + values.astype(">u2").tobytes())
    np.testing.assert_array_equal(pixels(tmp_path / "a.pgm", 1), values // 256)
    big_endian = Image.frombytes("I;16B", (4, 1), values.astype(">u2").tobytes())
    np.testing.assert_array_equal(pixels(saved(big_endian, "b.tif"), 1), values // 256)


def test_16_bit_rgb(tmp_path):
    values = np.array([[[0, 300, 65535]]], np.uint16)
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, b"\0" + values.astype(">u2").tobytes()))
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), values // 256)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_is_refused(saved, mode):
    with pytest.raises(DataError, match="32-bit"):
        open_image(saved(Image.new(mode, (2, 2), 1000), "a.tif"))


@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_alpha_is_dropped(saved, alpha):
    assert pixels(saved(Image.new("RGBA", (1, 1), (200, 10, 30, alpha)))).tolist() == [[[200, 10, 30]]]
    assert pixels(saved(Image.new("LA", (1, 1), (77, alpha))), 1).tolist() == [[77]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"transparency": b"\x00\x80"}])
def test_palette(saved, options):
    image = Image.new("P", (2, 1))
    image.putpalette([250, 0, 0, 0, 0, 90])
    image.putdata([1, 0])
    assert pixels(saved(image, **options)).tolist() == [[[0, 0, 90], [250, 0, 0]]]


def test_one_bit(saved):
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert pixels(saved(image), 1).tolist() == [[0, 255]]


def test_exif_rotation_is_not_applied(saved):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    path = saved(Image.new("RGB", (16, 8)), "a.jpg", exif=exif)
    assert Image.open(path).getexif()[0x0112] == 6
    assert open_image(path).size == (16, 8)


def test_animated_gives_the_first_frame(saved):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    path = saved(frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 2
    assert pixels(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_truncated_files_are_refused_with_their_path(saved, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = saved(Image.fromarray(noise), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_other_files_are_refused_with_their_path(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"a\.jpg: not an image"):
        open_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"b\.jpg: cannot read the file \(No such file"):
        open_image(tmp_path / "b.jpg")
    with pytest.raises(DataError, match="Is a directory"):
        open_image(tmp_path)


def test_formats_that_run_programs_are_not_opened(tmp_path):
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n%%EndComments\n")
    with pytest.raises(DataError, match="not an image, or none of JPEG"):
        open_image(tmp_path / "a.eps")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_460, 13_000, 60_000])
def test_huge_images_are_refused_before_decoding(tmp_path, side):
    # Above the limit, above Pillow's warning, above Pillow's error. There are no pixels: decoding
    # would fail with another message.
    (tmp_path / "bomb.png").write_bytes(png(side, side, 8, 2))
    with pytest.raises(DataError, match=r"bomb\.png: .*(above the limit|more pixels than)"):
        open_image(tmp_path / "bomb.png")


def test_the_limit_can_be_set(saved):
    path = saved(Image.new("L", (10, 10)))
    assert open_image(path, 1, max_pixels=100).size == (10, 10)
    with pytest.raises(DataError, match="10x10 pixels are above the limit of 99"):
        open_image(path, 1, max_pixels=99)
