"""EXIF rotation: pixels are those of Pillow's exif_transpose, cropped in whichever way; counted and said."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageOps

from mae_data.cli import main
from mae_data.images.formats import open_image
from mae_data.images.jpeg import JpegImage, open_lazily
from mae_data.images.jpeg_header import jpeg_orientation, turned_pixels
from mae_data.images.native_code import native, pillow_resized
from mae_data.images.stored import read_image
from mae_data.loading.dataset import ListDataset
from mae_data.loading.preprocess import preprocess
from mae_data.transforms.pipelines import make_eval_transform, make_pretrain_transform


def with_orientation(as_jpeg, photo, orientation, order="<", **options):
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    return as_jpeg(photo, exif=exif, **options)


def upright(data, mode="RGB"):
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data)).convert(mode))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
def test_the_tag_is_read_as_pillow_reads_it(make_photo, as_jpeg, orientation, order):
    data = with_orientation(as_jpeg, make_photo(30, 20), orientation, order)
    expected = Image.open(io.BytesIO(data)).getexif().get(0x0112)
    assert jpeg_orientation(data) == (expected if expected in range(1, 9) else 1)


def test_the_tag_in_xmp_alone_counts_as_for_pillow(make_photo, as_jpeg):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = as_jpeg(make_photo(30, 20), xmp=xmp)
    if Image.open(io.BytesIO(data)).getexif().get(0x0112) == 6:
        assert jpeg_orientation(data) == 6


def test_damaged_tags_are_no_tags(make_photo, as_jpeg):
    data = with_orientation(as_jpeg, make_photo(16, 8), 6)
    rng, start = np.random.default_rng(0), data.index(b"Exif")
    for _ in range(300):
        damaged = bytearray(data)
        for place in rng.integers(start, start + 60, 3):
            damaged[place] = rng.integers(256)
        assert jpeg_orientation(bytes(damaged)) in range(1, 9)
    for cut in range(0, len(data), 7):
        assert jpeg_orientation(data[:cut]) in range(1, 9)


@pytest.mark.parametrize("decoder", ["exact", "fast"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_crops_of_turned_photographs_are_pillows(make_photo, as_jpeg, orientation, channels, decoder):
    if decoder == "fast" and orientation == 1:
        pytest.skip("shrinks while it decodes; tested elsewhere")
    data = with_orientation(as_jpeg, make_photo(90, 60), orientation, subsampling=2)
    image, right = open_lazily(data, channels, decoder), upright(data, "RGB" if channels == 3 else "L")
    assert (image.width, image.height) == right.size
    assert isinstance(image, JpegImage) == bool(native())
    rng = np.random.default_rng(orientation)
    for kept, flip in itertools.product((False, True), (False, True)):
        if kept and isinstance(image, JpegImage):
            image.keep_decoded()
        for _ in range(5):
            height, width = rng.integers(3, right.height), rng.integers(3, right.width)
            box = (int(rng.integers(right.height - height)), int(rng.integers(right.width - width)), height, width)
            box = tuple(map(int, box))
            window = (2, 3, 9, 8)
            if isinstance(image, JpegImage):
                got = image.resized(box, (16, 20), window, flip)
                np.testing.assert_array_equal(got, pillow_resized(right, box, (16, 20), window, flip))
    for transform in (make_eval_transform(image_size=(20, 30)), make_pretrain_transform(image_size=24)):
        np.testing.assert_array_equal(
            transform(image, np.random.default_rng(1)), transform(right, np.random.default_rng(1))
        )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 2, 5, 6, 7, 8])
def test_every_way_of_reading_turns_alike(make_photo, kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind.lower()}"
    make_photo(30, 20).save(path, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    right = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    for got in (open_image(path), read_image(path), Image.fromarray(np.asarray(read_image(path, bands=[0, 1, 2])))):
        np.testing.assert_array_equal(np.asarray(got), right)
    expected = preprocess(right, 16)
    np.testing.assert_array_equal(preprocess(path, 16), expected)
    np.testing.assert_array_equal(preprocess(Image.open(path), 16), expected)
    if kind != "TIFF":
        stored = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(open_image(path, exif=False)), stored)
        np.testing.assert_array_equal(turned_pixels(stored, orientation), right)


def test_lists_say_it_at_the_start_and_verify_counts(make_photo, as_jpeg, tmp_path, capsys):
    for i, orientation in enumerate((1, 6, 8, 1)):
        (tmp_path / f"{i}.jpg").write_bytes(with_orientation(as_jpeg, make_photo(30, 20), orientation))
    (tmp_path / "train_list.txt").write_text("".join(f"{i}.jpg 0\n" for i in range(4)))
    transform = make_eval_transform(image_size=16)
    turned, stored = (ListDataset(tmp_path, "train_list.txt", transform, exif=exif) for exif in (True, False))
    assert turned.notes() == [
        "2 of 4 photographs looked at carry an EXIF rotation: they are turned upright (EXIF True)"
    ]
    assert stored.notes() == ["2 of 4 photographs looked at carry an EXIF rotation: they stay as stored (EXIF False)"]
    np.testing.assert_array_equal(turned[1][0], preprocess(upright((tmp_path / "1.jpg").read_bytes()), 16)[0])
    plain = Image.open(tmp_path / "1.jpg").convert("RGB")
    np.testing.assert_array_equal(stored[1][0], preprocess(np.asarray(plain), 16)[0])
    np.testing.assert_array_equal(turned[0][0], stored[0][0])
    assert main(["verify", str(tmp_path), "--workers", "1"]) == 0
    assert "2 carry an EXIF rotation" in capsys.readouterr().out
