"""HEIC and AVIF; right values are those of pillow-heif and of Pillow."""

import io
import sys

import numpy as np
import pytest
from PIL import Image, features

from mae_data.cli import main
from mae_data.errors import DataError
from mae_data.images.formats import open_image
from mae_data.images.stored import inspect_image, read_image

PHOTO = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48))
)


@pytest.fixture
def heic():
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    picture = pillow_heif.from_pillow(Image.fromarray(PHOTO))
    picture.save(file, quality=90, exif=exif.tobytes())
    return file.getvalue()


@pytest.fixture
def avif():
    if "avif" not in features.modules or not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "AVIF", quality=90)
    return file.getvalue()


def test_heic_has_the_pixels_of_pillow_heif(heic):
    import pillow_heif

    right = np.asarray(pillow_heif.open_heif(io.BytesIO(heic)))
    mine = read_image(io.BytesIO(heic), 3, exif=False)
    np.testing.assert_array_equal(np.asarray(mine), right)
    assert inspect_image(io.BytesIO(heic)) == (3, np.uint8)
    assert np.abs(right.astype(int) - np.rot90(PHOTO, -1)).mean() < 20  # its decoder turns it upright


def test_avif_has_the_pixels_of_pillow(avif):
    right = np.asarray(Image.open(io.BytesIO(avif)).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(open_image(io.BytesIO(avif))), right)


def test_a_folder_of_them_is_indexed_and_verified(tmp_path, heic, avif, capsys):
    (tmp_path / "a.HEIC").write_bytes(heic)
    (tmp_path / "b.avif").write_bytes(avif)
    (tmp_path / "c.heic").write_bytes(heic[: len(heic) // 2])
    assert main(["index", str(tmp_path)]) == 0
    assert main(["verify", str(tmp_path), "--workers", "1"]) == 3
    said = capsys.readouterr().out
    assert "3 images checked, 1 bad" in said
    assert "(c.heic): cannot decode the image (damaged HEIF)" in said


def test_too_many_pixels_are_refused_from_the_header(heic, avif):
    for data in (heic, avif):
        with pytest.raises(DataError, match=r"(64x48|48x64) pixels are above the limit of 3000"):
            open_image(io.BytesIO(data), max_pixels=3000)


def test_without_the_extra_it_is_named(monkeypatch):
    head = b"\0\0\0\x18ftyp%s\0\0\0\0mif1heic"
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r'HEIC needs pillow-heif: pip install "mae-data\[heif\]"'):
        open_image(io.BytesIO(head % b"heic"))
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(DataError, match=r"AVIF needs a Pillow .*11\.3 and above .* pip install --upgrade pillow"):
        open_image(io.BytesIO(head % b"avif"))
