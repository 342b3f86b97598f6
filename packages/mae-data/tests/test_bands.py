"""Every band and page of a TIFF counts, in one way for every depth; right values are those of rasterio and tifffile."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main
from mae_data.errors import DataError
from mae_data.images import tiff
from mae_data.images.bands import as_bands, take_bands
from mae_data.images.stored import inspect_image, read_image
from mae_data.images.value_range import EIGHT_BITS, Planes, as_value_range
from mae_data.loading.dataset import ListDataset
from mae_data.loading.preprocess import preprocess
from mae_data.transforms.pipelines import make_eval_transform

CASES = Path(__file__).with_name("cases")
WIDE = as_value_range(65535)
tifffile = pytest.importorskip("tifffile", reason="the extra test of mae-data is not installed")


def by_rasterio(path):
    rasterio = pytest.importorskip("rasterio", reason="the extra test of mae-data is not installed")
    with rasterio.open(path) as file:
        return file.read().transpose(1, 2, 0)


def by_tifffile(path):
    return tifffile.imread(path).transpose(1, 2, 0)


def pixels_of(image):
    return image.pixels if isinstance(image, Planes) else np.atleast_3d(np.asarray(image))


@pytest.mark.parametrize(
    ("name", "read", "limits", "means"),
    [
        ("naip_4band_uint8", by_rasterio, EIGHT_BITS, [136.531, 119.574, 121.435, 131.962]),
        ("ome_cyx_3page_uint8", by_tifffile, EIGHT_BITS, [29.571, 63.643, 98.978]),
        ("imagej_cyx_3page_uint8", by_tifffile, EIGHT_BITS, [29.285, 65.337, 98.662]),
        ("lzw_predictor_nodata_uint16_12band", by_rasterio, WIDE, None),
        ("nodata_int16_6band", by_rasterio, as_value_range([-10000, 10000]), None),
    ],
)
def test_all_bands_and_pages_arrive(name, read, limits, means):
    path = CASES / f"{name}.tif"
    right = read(path)
    image = pixels_of(read_image(path, right.shape[2], limits))
    np.testing.assert_array_equal(image, right)
    assert inspect_image(path).channels == right.shape[2] if right.shape[2] != 3 else True
    if means:
        np.testing.assert_allclose(image.mean(axis=(0, 1)), means, atol=5e-4)


def test_what_is_not_used_is_an_error_that_names_it_or_was_chosen():
    path = CASES / "naip_4band_uint8.tif"
    with pytest.raises(DataError, match=r"4 channels \(0 red, 1 green, 2 blue, 3 alpha\), 3 are asked .* \[0, 1, 2\]"):
        read_image(path)
    for bands in ([3, 0, 1], ["alpha", "Red", "green"]):
        image = read_image(path, 3, bands=bands)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), by_rasterio(path)[:, :, [3, 0, 1]])
    with pytest.raises(DataError, match=r"there is no band 'nir'; the image has 4 channels \(0 red"):
        read_image(path, 1, bands=["nir"])
    with pytest.raises(DataError, match="there is no band 4"):
        read_image(path, 1, bands=[4])


def test_bands_of_pictures_are_those_stored(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8))
    for name in ("a.png", "b.tif"):
        picture.save(tmp_path / name)
        swapped = read_image(tmp_path / name, 3, bands=[2, 1, 0])
        np.testing.assert_array_equal(np.asarray(swapped), np.asarray(picture)[:, :, ::-1])
    one = preprocess(np.asarray(picture), 8, 1.0, channels=1, bands=[1])
    np.testing.assert_array_equal(one, preprocess(np.asarray(picture)[:, :, 1], 8, 1.0, channels=1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_minis_white_is_turned_at_every_depth(tmp_path, dtype):
    path, most = CASES / f"miniswhite_{dtype}.tif", np.iinfo(dtype).max
    limits = as_value_range(int(most))
    stored = tifffile.imread(path)
    assert stored.mean() == pytest.approx({"uint8": 98.58, "uint16": 27703.4}[dtype], abs=0.05)
    np.testing.assert_array_equal(pixels_of(read_image(path, 1, limits))[:, :, 0], most - stored)
    both = np.stack([stored, stored])
    tifffile.imwrite(tmp_path / "two.tif", both, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "two.tif", 2, limits).pixels, most - both.transpose(1, 2, 0))


def test_pages_of_colour_and_images_of_two_sizes_are_refused(tmp_path):
    colour = np.zeros((3, 8, 9, 3), np.uint8)
    tifffile.imwrite(tmp_path / "pages.tif", colour, photometric="rgb")
    with pytest.raises(DataError, match=r"axes .* of shape \(3, 8, 9, 3\) are not those of one image"):
        read_image(tmp_path / "pages.tif")
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(colour[0], photometric="rgb")
        file.write(colour[0, :4], photometric="rgb")
    with pytest.raises(DataError, match=r"the file holds 2 images, of shapes \(8, 9, 3\) and \(4, 9, 3\)"):
        read_image(tmp_path / "two.tif")


def test_smaller_copies_do_not_count(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (16, 18, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(colour, photometric="rgb")
        file.write(colour[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "pyramid.tif")), colour)


@pytest.mark.parametrize("writer", ["gdal", "ome", "imagej"])
def test_bands_by_the_files_names(tmp_path, writer):
    pixels, path = np.random.default_rng(0).integers(0, 256, (3, 8, 9), dtype=np.uint8), tmp_path / "named.tif"
    names = ["B04", "dapi", "near infrared"]
    if writer == "gdal":
        rasterio = pytest.importorskip("rasterio", reason="the extra test of mae-data is not installed")
        shape = {"height": 8, "width": 9, "count": 3, "dtype": "uint8", "photometric": "minisblack"}
        with rasterio.open(path, "w", driver="GTiff", **shape) as file:
            file.write(pixels)
            file.descriptions = names
    elif writer == "ome":
        tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "CYX", "Channel": {"Name": names}})
    else:
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX", "Labels": names})
    image = read_image(path, 2, bands=["near infrared", "b04"])
    np.testing.assert_array_equal(image.pixels, pixels[[2, 0]].transpose(1, 2, 0))
    with pytest.raises(DataError, match=r"3 channels \(0 B04, 1 dapi, 2 near infrared\), 2 are asked for"):
        read_image(path, 2)


def test_depth_and_key_are_named_where_16_bits_come(tmp_path):
    Image.fromarray(np.full((4, 5), 700, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(
        DataError,
        match=r"uint16 values, .* 255 .* such as 65535 \(VALUE_RANGE, .*1 channels, 3 .*IMAGE_CHANNELS",
    ):
        read_image(tmp_path / "a.png")


def test_lzw_without_imagecodecs_names_the_extra(monkeypatch):
    def refuse(*args, **kwargs):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", refuse)
    with pytest.raises(DataError, match=r'TIFF with LZW needs imagecodecs: pip install "mae-data\[tiff\]"'):
        read_image(CASES / "lzw_predictor_nodata_uint16_12band.tif", 12, WIDE)


def test_libtiff_writes_nothing_to_the_console(tmp_path, capfd):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "TIFF", compression="tiff_adobe_deflate")
    damaged = bytearray(file.getvalue())
    damaged[600:640] = b"\xff" * 40
    (tmp_path / "a.tif").write_bytes(damaged)
    with pytest.raises(DataError):
        read_image(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""
    tiff.silence_libtiff.cache_clear()


def test_a_choice_is_numbers_from_0_or_names():
    assert as_bands([3, "nir"]) == (3, "nir")
    assert as_bands(None) is None
    for wrong in ([], [-1], [True], "nir", [""], [1.0]):
        with pytest.raises(ValueError, match="give a list of numbers"):
            as_bands(wrong)
    with pytest.raises(DataError, match="no band 'a'"):
        take_bands(np.zeros((2, 2, 2)), ["a"], ["a", "A"])  # which of the two?


def test_lists_statistics_and_commands_take_the_same_bands(tmp_path, capsys):
    path = tmp_path / "a.tif"
    path.write_bytes((CASES / "naip_4band_uint8.tif").read_bytes())
    (tmp_path / "train_list.txt").write_text("a.tif 0\n")
    dataset = ListDataset(tmp_path, "train_list.txt", make_eval_transform(image_size=64, crop_pct=1.0), bands=[3, 0, 1])
    np.testing.assert_array_equal(dataset[0][0], by_rasterio(path)[:, :, [3, 0, 1]])
    assert main(["verify", str(tmp_path), "--channels", "3", "--workers", "1"]) == 3
    assert main(["verify", str(tmp_path), "--bands", "3", "0", "1", "--workers", "1"]) == 0
    capsys.readouterr()
    yaml = tmp_path / "stats.yaml"
    assert main(["stats", str(tmp_path), "--bands", "alpha", "0", "--workers", "1", "--yaml", str(yaml)]) == 0
    assert 'BANDS: ["alpha", 0]' in yaml.read_text()
    assert "IMAGE_CHANNELS: 2" in yaml.read_text()
    right = by_rasterio(path)[:, :, [3, 0]].mean(axis=(0, 1)) / 255
    assert f"{right[0]:.6f} {right[1]:.6f}" in capsys.readouterr().out
