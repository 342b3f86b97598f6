"""Values that stand for no data, against NumPy's masked arrays and what rasterio reads of the same files."""

import json

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main
from mae_data.errors import DataError, ImageError
from mae_data.images.nodata import as_nodata, has_data, nodata_of_file
from mae_data.images.stored import read_image
from mae_data.images.value_range import Planes, as_value_range
from mae_data.loading.dataset import ListDataset
from mae_data.loading.preprocess import as_image, preprocess
from mae_data.rng import sample_rng
from mae_data.transforms.pipelines import make_eval_transform, make_pretrain_transform

RNG = np.random.default_rng(0)
FLOATS = as_value_range([-10.0, 10.0])


def holed(shape, dtype, hole, share=0.3, seed=0):
    """Draw pixels [H, W, C] with a share of values that are `hole`, and where they are."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        pixels = rng.normal(size=shape).astype(dtype)
    else:
        pixels = rng.integers(1, 200, shape).astype(dtype)
    holes = rng.random(shape) < share
    pixels[holes] = hole
    return pixels, holes


def geotiff(path, pixels, nodata=None, **options):
    rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
    height, width, count = pixels.shape
    shape = {"height": height, "width": width, "count": count, "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", nodata=nodata, **shape, **options) as file:
        file.write(pixels.transpose(2, 0, 1))
    return path


@pytest.mark.parametrize(
    ("dtype", "hole", "stated", "value_range"),
    [
        ("float32", -9999.0, -9999, [-10.0, 10.0]),
        ("float32", -3.4028234663852886e38, "file", [-10.0, 10.0]),
        ("float32", np.nan, "nan", [-10.0, 10.0]),
        ("float32", np.nan, -9999, [-10.0, 10.0]),
        ("int16", -32768, "file", [-200.0, 200.0]),
        ("uint16", 65535, 65535, 10000),
        ("uint8", 0, "file", 255),
    ],
)
@pytest.mark.parametrize("bands", [3, 4])
def test_holes_are_filled_with_the_mean_and_all_else_is_as_stored(tmp_path, dtype, hole, stated, value_range, bands):
    rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
    pixels, holes = holed((9, 11, bands), dtype, hole)
    path = geotiff(tmp_path / "a.tif", pixels, nodata=None if np.isnan(hole) else hole)
    with rasterio.open(path) as file:
        masked = file.read(masked=True).transpose(1, 2, 0)
    limits = as_value_range(value_range)
    mean = RNG.random(bands) * 0.5
    nodata = as_nodata(stated, mean)
    image = read_image(path, bands, limits, nodata=nodata)
    got = image.pixels if isinstance(image, Planes) else np.asarray(image)
    if not np.isnan(hole):
        np.testing.assert_array_equal(np.ma.getmaskarray(masked), holes)
    filled = limits.low + mean * limits.span
    filled = filled if limits.is_float else np.rint(filled)
    np.testing.assert_array_equal(got, np.where(holes, filled, pixels).astype(limits.dtype))


def test_the_share_of_data_comes_as_one_more_channel():
    pixels, holes = holed((8, 8, 4), "float32", np.nan, 0.5)
    given = np.where(holes, np.nan, pixels)
    image = as_image(given, 4, FLOATS, nodata=as_nodata("nan", coverage=True))
    assert image.pixels.shape == (8, 8, 5)
    np.testing.assert_allclose((image.pixels[..., 4] + 10) / 20, 1 - holes.mean(axis=2), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(image.pixels[..., :4], np.where(holes, -10, pixels))


def test_that_channel_is_cropped_and_turned_with_the_image(tmp_path):
    pixels = RNG.integers(1, 255, (40, 40, 3), dtype=np.uint8)
    pixels[:, :20] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png\n" * 4)
    transform = make_pretrain_transform(image_size=16, rotate90=True, vflip=0.5)
    options = {"nodata": 0, "mean": [0.5] * 3, "labels": "optional"}
    covered = ListDataset(tmp_path, "list.txt", transform, coverage=True, **options)
    plain = ListDataset(tmp_path, "list.txt", transform, **options)
    mask = Planes(np.where(pixels[..., :1], 255, 0).astype(np.uint8), as_value_range(255))
    for key in ((epoch, index) for epoch in range(5) for index in range(4)):
        got = covered[key][0]
        assert got.shape == (16, 16, 4)
        np.testing.assert_array_equal(got[..., :3], plain[key][0])
        np.testing.assert_array_equal(got[..., 3:], transform(mask, sample_rng(0, *key)))


def test_bad_images_that_are_dropped_have_that_channel_too(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "list.txt").write_text("a.png\n" * 3)
    transform = make_eval_transform(image_size=8)
    dataset = ListDataset(tmp_path, "list.txt", transform, labels="optional", on_error="drop", nodata=0, coverage=True)
    assert dataset[0][0].shape == (8, 8, 4)


@pytest.mark.parametrize(("dtype", "value"), [("uint8", -9999), ("uint8", 0.5), ("int16", 1e9), ("uint16", None)])
def test_a_number_that_a_type_does_not_have_is_nowhere(dtype, value):
    assert has_data(np.zeros((2, 3), dtype), value).all()


def test_what_a_file_says(tmp_path):
    pixels = RNG.random((4, 5, 3)).astype(np.float32)
    for i, (said, found) in enumerate([(None, None), (-9999, -9999.0), (0.1, 0.1), (float("nan"), float("nan"))]):
        with geotiff(tmp_path / f"{i}.tif", pixels, said).open("rb") as file:
            got = nodata_of_file(file)
            assert file.tell() == 0
        assert got is None if found is None else got == pytest.approx(found, nan_ok=True)
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        assert nodata_of_file(file) is None


@pytest.mark.parametrize("given", ["none", True, [0], float("inf"), ""])
def test_what_stands_for_no_data_is_a_number_or_a_word(given):
    with pytest.raises(ValueError, match=r'give the number that stands for it, "nan", or "file"'):
        as_nodata(given)


def test_what_is_not_named_is_refused_and_the_message_names_the_key(tmp_path):
    pixels, _ = holed((4, 5, 3), "float32", -9999.0)
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(ImageError, match=r"values from -9999 to .* stands for no data \(NODATA, --nodata\)"):
        read_image(tmp_path / "a.npy", 3, FLOATS)
    np.save(tmp_path / "b.npy", np.where(pixels == -9999, np.nan, pixels))
    with pytest.raises(ImageError, match=r"NaN .* \(NODATA nan, --nodata nan\)"):
        read_image(tmp_path / "b.npy", 3, FLOATS)
    read_image(tmp_path / "b.npy", 3, FLOATS, nodata=as_nodata(-9999))  # NaN never is data
    np.save(tmp_path / "c.npy", np.where(pixels == -9999, np.inf, pixels))
    with pytest.raises(DataError, match="infinite"):
        read_image(tmp_path / "c.npy", 3, FLOATS, nodata=as_nodata("nan"))


def test_arrays_are_filled_like_files():
    pixels, holes = holed((16, 16, 3), "uint8", 0)
    got = preprocess(pixels, 16, 1.0, nodata=0, mean=[0.2, 0.4, 0.6])[0]
    np.testing.assert_array_equal(got, np.where(holes, np.array([51, 102, 153]), pixels))


def run(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("dtype", "hole", "stated", "value_range"),
    [
        ("float32", -9999.0, "-9999", ["-10", "10"]),
        ("float32", np.nan, "nan", ["-10", "10"]),
        ("int16", -32768, "file", ["-200", "200"]),
        ("uint16", 0, "0", ["10000"]),
        ("uint8", 0, "0", ["255"]),
    ],
)
def test_statistics_leave_them_out(tmp_path, capsys, dtype, hole, stated, value_range):
    images = [holed((9, 11, 3), dtype, hole, share, seed) for seed, share in enumerate((0.0, 0.4, 0.8))]
    for i, (pixels, _) in enumerate(images):
        if stated == "file":
            geotiff(tmp_path / f"{i}.tif", pixels, hole)
        else:
            np.save(tmp_path / f"{i}.npy", pixels)
    values = np.ma.masked_array(
        np.concatenate([p.reshape(-1, 3) for p, _ in images]).astype(np.float64),
        np.concatenate([h.reshape(-1, 3) for _, h in images]),
    )
    main(["index", str(tmp_path), "--unlabelled"])
    capsys.readouterr()
    yaml = tmp_path / "stats.yaml"
    options = ["--nodata", stated, "--value-range", *value_range, "--yaml", yaml]
    stats = run(capsys, "stats", tmp_path, *options, "--json")
    low, high = (0, float(value_range[0])) if len(value_range) == 1 else map(float, value_range)
    np.testing.assert_allclose(stats["mean"], (values.mean(axis=0) - low) / (high - low), rtol=1e-12)
    np.testing.assert_allclose(stats["std"], values.std(axis=0) / (high - low), rtol=1e-12)
    assert (stats["lowest"], stats["highest"]) == (values.min(axis=0).tolist(), values.max(axis=0).tolist())
    assert stats["without_data"] == pytest.approx(values.mask.mean())
    assert f"NODATA: {json.dumps(stats['nodata'])}" in yaml.read_text()
    assert main(["verify", str(tmp_path), "--channels", "3", *map(str, options[:-2])]) == 0


def test_statistics_name_the_type_of_the_numbers(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.array([[[-5], [9]]], np.int16))
    assert main(["index", str(tmp_path), "--unlabelled"]) == 0
    assert main(["stats", str(tmp_path)]) == 2
    assert "the pixels are int16 from -5 to 9; state the range" in capsys.readouterr().err


def test_a_channel_without_any_data_is_refused(tmp_path, capsys):
    pixels = np.ones((4, 5, 3), np.uint16)
    pixels[..., 1] = 0
    np.save(tmp_path / "a.npy", pixels)
    assert main(["index", str(tmp_path), "--unlabelled"]) == 0
    assert main(["stats", str(tmp_path), "--nodata", "0"]) == 3
    assert "channel 1 (from 0) has no data" in capsys.readouterr().err
    assert main(["stats", str(tmp_path), "--nodata", "zero"]) == 2
    assert "--nodata zero: give a number, nan, or file" in capsys.readouterr().err
