"""Windows of large files: pixel for pixel what rasterio reads, at little memory, and what whole files give."""

import json
import subprocess
import sys

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
from affine import Affine  # noqa: E402
from rasterio.windows import Window  # noqa: E402

from mae_data.cli import main  # noqa: E402
from mae_data.errors import DataError, ImageError  # noqa: E402
from mae_data.images import geotiff as geotiff_module  # noqa: E402
from mae_data.images import scene as scene_module  # noqa: E402
from mae_data.images.geotiff import is_scene  # noqa: E402
from mae_data.images.nodata import as_nodata  # noqa: E402
from mae_data.images.scene import OpenScenes, Scene  # noqa: E402
from mae_data.images.stored import read_image  # noqa: E402
from mae_data.images.value_range import Planes, as_value_range  # noqa: E402
from mae_data.loading.dataset import ListDataset  # noqa: E402
from mae_data.loading.preprocess import ModelInput  # noqa: E402
from mae_data.rng import sample_rng  # noqa: E402
from mae_data.transforms.native_crop import NativeCentre, make_native_transform  # noqa: E402
from mae_data.transforms.pipelines import make_eval_transform, make_pretrain_transform  # noqa: E402

SIDE = 300  # here a scene, so that tests are quick
LIMITS = {"uint8": 255, "uint16": 65535, "float32": [-10.0, 10.0], "int16": [-3000.0, 3000.0]}


def draw(shape, kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "float32":
        return rng.normal(size=shape).astype(kind)
    low, high = {"uint8": (0, 256), "uint16": (0, 65536), "int16": (-3000, 3000)}[kind]
    return rng.integers(low, high, shape).astype(kind)


def write(path, pixels, nodata=None, names=(), driver="GTiff", **options):
    count, height, width = pixels.shape
    shape = {"height": height, "width": width, "count": count, "dtype": pixels.dtype, "nodata": nodata}
    shape |= {"transform": Affine(0.6, 0, 500000, 0, -0.6, 5e6), "crs": "EPSG:32633"}
    with rasterio.open(path, "w", driver=driver, **shape, **options) as file:
        file.write(pixels)
        for i, name in enumerate(names, 1):
            file.set_band_description(i, name)
    return path


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 32}


@pytest.fixture(autouse=True)
def small_scenes(monkeypatch):
    monkeypatch.setattr(geotiff_module, "LEAST", 80_000)
    monkeypatch.setattr(scene_module, "_STRIP", 1 << 13)
    monkeypatch.setattr(scene_module, "_PART", 1 << 12)


LAYOUTS = {
    "tiled": TILED,
    "striped": {"tiled": False, "compress": "lzw"},
    "planar": {**TILED, "interleave": "band", "compress": "deflate", "predictor": 2},
    "cog": {"driver": "COG", "compress": "LZW"},
    "jp2": {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"},
}


@pytest.fixture(scope="module", params=LAYOUTS)
def scene_file(request, tmp_path_factory):
    """A scene of 4 uint16 bands in each layout."""
    path = tmp_path_factory.mktemp("scene") / ("a.jp2" if request.param == "jp2" else "a.tif")
    return write(path, draw((4, SIDE, SIDE + 30), "uint16"), **LAYOUTS[request.param])


BOXES = [(0, 0, 224, 224), (SIDE - 100, SIDE - 70, 100, 100), (200, 3, 1, 250), (0, 0, SIDE, SIDE + 30)]


@pytest.mark.parametrize("box", BOXES)
def test_a_window_is_what_rasterio_reads(scene_file, box):
    top, left, height, width = box
    with rasterio.open(scene_file) as file:
        expected = file.read(window=Window(left, top, width, height)).transpose(1, 2, 0)
    assert is_scene(scene_file)
    scene = Scene(scene_file, 4, as_value_range(65535))
    assert (scene.height, scene.width, len(scene.getbands())) == (SIDE, SIDE + 30, 4)
    np.testing.assert_array_equal(scene.read(box).pixels, expected)
    np.testing.assert_array_equal(scene.resized(box, (height, width), flip=True), expected[:, ::-1])
    small = Planes(expected, as_value_range(65535)).resized((0, 0, height, width), (40, 30), (1, 2, 20, 25))
    np.testing.assert_array_equal(scene.resized(box, (40, 30), (1, 2, 20, 25)), small)


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_crops_are_those_of_the_whole_file(tmp_path, kind, bands):
    """A file is a scene by its size alone, so both must be the same, pictures of 8 bits too."""
    write(tmp_path / "a.tif", draw((bands, SIDE, SIDE), kind), **TILED)
    (tmp_path / "list.txt").write_text("a.tif\n")
    options = {"channels": bands, "value_range": LIMITS[kind], "labels": "optional"}
    transforms = make_pretrain_transform(image_size=32), make_native_transform(image_size=48), NativeCentre((40, 30))
    for transform in transforms:
        dataset = ListDataset(tmp_path, "list.txt", transform, **options)
        whole = read_image(tmp_path / "a.tif", bands, as_value_range(LIMITS[kind]))
        assert isinstance(dataset._read(0), Scene)
        for epoch in range(3):
            expected = transform(whole, sample_rng(0, epoch, 0))
            np.testing.assert_array_equal(dataset[(epoch, 0)][0], expected)


@pytest.mark.parametrize(("bands", "channels"), [(1, 3), (3, 1)])
def test_8_bit_scenes_become_grey_or_rgb_as_pictures_do(tmp_path, bands, channels):
    write(tmp_path / "a.tif", draw((bands, SIDE, SIDE), "uint8"), **TILED)
    whole = np.asarray(read_image(tmp_path / "a.tif", channels))
    got = Scene(tmp_path / "a.tif", channels, as_value_range(255)).resized((9, 8, 70, 60), (70, 60))
    np.testing.assert_array_equal(got.squeeze(), whole[9:79, 8:68])


def test_where_0_is_white_it_is_turned_as_in_whole_files(tmp_path):
    write(tmp_path / "a.tif", draw((1, SIDE, SIDE), "uint16"), photometric="MINISWHITE", **TILED)
    whole = read_image(tmp_path / "a.tif", 1, as_value_range(65535)).pixels
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(whole[..., 0], 65535 - file.read(1))
    got = Scene(tmp_path / "a.tif", 1, as_value_range(65535)).read((5, 6, 50, 40)).pixels
    np.testing.assert_array_equal(got, whole[5:55, 6:46])


@pytest.mark.parametrize("chosen", [[3, 0], ["NIR", "red"], ["red", 3, "red"]])
def test_bands_are_chosen_by_number_or_name(tmp_path, chosen):
    pixels = draw((4, SIDE, SIDE), "uint16")
    write(tmp_path / "a.tif", pixels, names=["red", "green", "blue", "nir"], **TILED)
    scene = Scene(tmp_path / "a.tif", len(chosen), as_value_range(65535), chosen)
    places = [band if isinstance(band, int) else {"nir": 3, "red": 0}[band.lower()] for band in chosen]
    np.testing.assert_array_equal(scene.read((1, 2, 30, 40)).pixels, pixels[places, 1:31, 2:42].transpose(1, 2, 0))


@pytest.mark.parametrize("stated", ["file", -9999])
def test_no_data_of_a_window_are_filled_and_told(tmp_path, stated):
    pixels = draw((2, SIDE, SIDE), "float32")
    pixels[:, 40:70] = -9999
    pixels[0, :, :20] = np.nan
    write(tmp_path / "a.tif", pixels, nodata=-9999, **TILED)
    nodata = as_nodata(stated, [0.5, 0.75], coverage=True)
    scene = Scene(tmp_path / "a.tif", 2, as_value_range([-10.0, 10.0]), nodata=nodata)
    with rasterio.open(tmp_path / "a.tif") as file:
        masked = file.read(masked=True)[:, 30:80, 10:60]
    holes = np.ma.getmaskarray(masked) | np.isnan(masked.data)
    got = scene.read((30, 10, 50, 50)).pixels.transpose(2, 0, 1)
    mean = np.array([0, 5], np.float32)[:, None, None]
    np.testing.assert_array_equal(got[:2], np.where(holes, mean, masked.data))
    np.testing.assert_allclose((got[2] + 10) / 20, 1 - holes.mean(axis=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["uint16", "float32"])
@pytest.mark.parametrize("overviews", [(), (2, 4)])
def test_very_large_windows_are_averaged(tmp_path, monkeypatch, kind, overviews):
    monkeypatch.setattr(scene_module, "WHOLE", 1 << 16)
    pixels = draw((2, 1060, 1060), kind)
    pixels[pixels == 7] = 8
    pixels[:, :64] = 7
    write(tmp_path / "a.tif", pixels, nodata=7, **TILED)
    if overviews:
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            file.build_overviews(overviews, rasterio.enums.Resampling.average)
    scene = Scene(tmp_path / "a.tif", 2, as_value_range(LIMITS[kind]), nodata=as_nodata("file", [0.25, 0.25]))
    got = scene.resized((0, 16, 1030, 1000), (64, 60))  # by 8: 128 x 125 squares
    squares = pixels[:, :1024, 16:1016].reshape(2, 128, 8, 125, 8).astype(np.float64)
    exact = np.where(squares == 7, np.nan, squares)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(exact, axis=(2, 4)) / np.isfinite(exact).sum(axis=(2, 4))
    limits = as_value_range(LIMITS[kind])
    mean = np.where(np.isfinite(mean), mean if limits.is_float else np.rint(mean), limits.low + limits.span / 4)
    mean = (mean if limits.is_float else np.rint(mean)).astype(kind).transpose(1, 2, 0)
    expected = Planes(mean, limits).resized((0, 0, 128, 125), (64, 60))
    # Overviews are rounded by GDAL, and stand for 4 x 4 pixels each whether all of these are data or not.
    close = {"rtol": 0, "atol": 1e-5 if kind == "float32" else 2 if overviews else 0}
    np.testing.assert_allclose(got.astype(float), expected.astype(float), **close)
    whole = make_eval_transform(image_size=64)(scene)
    assert whole.shape == (64, 64, 2)


def test_what_is_no_scene_is_read_whole(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    large = np.zeros((2, SIDE, SIDE), np.uint8)
    write(tmp_path / "small.tif", draw((1, 64, 64), "uint8"))
    tifffile.imwrite(tmp_path / "pages.tif", large, photometric="minisblack")
    tifffile.imwrite(tmp_path / "imagej.tif", large, imagej=True)
    tifffile.imwrite(tmp_path / "turned.tif", large[0], extratags=[(274, "H", 1, 6, True)])
    (tmp_path / "cut.tif").write_bytes((tmp_path / "pages.tif").read_bytes()[:6])
    (tmp_path / "other.tif").write_bytes(b"no TIFF")
    for name in ("small.tif", "pages.tif", "imagej.tif", "turned.tif", "cut.tif", "other.tif", "gone.tif", "a.png"):
        assert not is_scene(tmp_path / name), name
    tifffile.imwrite(tmp_path / "large.tif", large[0])
    assert is_scene(tmp_path / "large.tif")


def test_overviews_and_masks_are_no_further_pages(tmp_path):
    write(tmp_path / "a.tif", draw((3, SIDE, SIDE), "uint8"), **TILED)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest)
        file.write_mask(np.full((SIDE, SIDE), 255, np.uint8))
    assert is_scene(tmp_path / "a.tif")


def test_without_rasterio_the_extra_is_named_where_nothing_else_reads(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", draw((1, SIDE, SIDE), "uint8"), **TILED)
    write(tmp_path / "a.jp2", draw((1, 64, 64), "uint8"), driver="JP2OpenJPEG")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not is_scene(tmp_path / "a.tif")
    monkeypatch.setattr(geotiff_module, "MAX_PIXELS", 10**4)
    for name in ("a.tif", "a.jp2"):
        with pytest.raises(ImageError, match=r'pip install "mae-data\[geo\]"') as error:
            is_scene(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def test_what_cannot_be_read_by_windows_is_refused_by_name(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", draw((3, SIDE, SIDE), "uint16"), names=["red", "green", "nir"], **TILED)
    limits = as_value_range(65535)
    with pytest.raises(ImageError, match=r"a.tif: the image has 3 channels \(0 red, 1 green, 2 nir\), 4 are asked for"):
        Scene(tmp_path / "a.tif", 4, limits)
    with pytest.raises(ImageError, match="there is no band 'blue'"):
        Scene(tmp_path / "a.tif", 1, limits, ["blue"])
    with pytest.raises(ImageError, match="uint16 values, but the value range 255"):
        Scene(tmp_path / "a.tif", 3, as_value_range(255)).read((0, 0, 9, 9))
    with pytest.raises(ImageError, match="leave the value range 60000"):
        Scene(tmp_path / "a.tif", 3, as_value_range(60000)).read((0, 0, 99, 99))
    monkeypatch.setattr(scene_module, "MAX_BYTES", 10**3)
    with pytest.raises(ImageError, match="gdal_translate -co TILED=YES"):
        Scene(tmp_path / "a.tif", 3, limits)
    monkeypatch.setattr(scene_module, "MAX_BYTES", 10**8)
    whole = write(tmp_path / "b.tif", draw((3, SIDE, SIDE), "uint16"), **TILED).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    scene = Scene(tmp_path / "cut.tif", 3, limits)
    with pytest.raises(ImageError, match=r"cut.tif: cannot decode the image"):
        scene.read((SIDE - 100, 0, 100, 100))
    (tmp_path / "other.jp2").write_bytes(b"no JPEG 2000")
    with pytest.raises(ImageError, match=r"other.jp2: cannot decode the image"):
        Scene(tmp_path / "other.jp2", 3, limits)


def test_native_crops_are_anywhere_and_of_the_scenes_own_pixels(tmp_path):
    rows, columns = np.mgrid[:SIDE, : SIDE + 9]
    write(tmp_path / "a.tif", np.stack([rows, columns]).astype(np.uint16), **TILED)
    scene = Scene(tmp_path / "a.tif", 2, as_value_range(65535))
    crop = make_native_transform(image_size=(20, 30), vflip=0.5, rotate90=True)
    rng, corners, ways = np.random.default_rng(0), [], set()
    for _ in range(200):
        pixels = crop(scene, rng).astype(int)
        assert pixels.shape == (20, 30, 2)
        assert (np.ptp(pixels[..., 0]), np.ptp(pixels[..., 1])) in ((19, 29), (29, 19))
        corners.append(pixels.min(axis=(0, 1)) / SIDE)
        ways.add((tuple(np.sign(pixels[1, 0] - pixels[0, 0])), tuple(np.sign(pixels[0, 1] - pixels[0, 0]))))
    assert len(ways) == 8
    assert np.abs(np.mean(corners, axis=0) - 0.5).max() < 0.07
    small = Planes(np.zeros((19, 40, 2), np.uint16), as_value_range(65535))
    with pytest.raises(DataError, match=r"40x19 pixels are less than a native crop of 30x20: .*CROP resized"):
        NativeCentre((20, 30))(small)


def test_an_epoch_has_several_crops_of_each_scene(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.tif", draw((1, SIDE, SIDE), "uint16", i), **TILED)
    (tmp_path / "bad.tif").write_bytes(b"")
    (tmp_path / "list.txt").write_text("0.tif 5\nbad.tif 6\n1.tif 7\n2.tif 8\n")
    transform = make_native_transform(image_size=16)
    options = {"channels": 1, "value_range": 65535, "crops": 4, "on_error": "skip"}
    dataset = ListDataset(tmp_path, "list.txt", transform, **options)
    assert len(dataset) == 16
    samples = [dataset[(2, i)] for i in range(16)]
    assert [int(label) for _, label, _ in samples] == [5] * 4 + [7] * 8 + [8] * 4
    assert [int(index) for _, _, index in samples] == [0, 1, 2, 3, 8, 9, 10, 11, *range(8, 16)]
    assert len({pixels.tobytes() for pixels, _, _ in samples}) == 16
    assert dataset.bad.indices() == [1]
    assert "0.tif" in dataset.describe((0, 3))
    assert dataset.describe_batch(np.array([4, 15])).endswith("(2.tif)")
    again = ListDataset(tmp_path, "list.txt", transform, **options)
    np.testing.assert_array_equal(again[(2, 9)][0], samples[9][0])


def test_files_are_opened_once_and_few_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_module, "_KEPT", 2)
    for i in range(3):
        write(tmp_path / f"{i}.tif", draw((1, SIDE, SIDE), "uint8", i), **TILED)
    scenes, opened = OpenScenes(), []

    def get(i):
        return scenes.get(i, lambda: opened.append(i) or Scene(tmp_path / f"{i}.tif", 1, as_value_range(255)))

    first = get(0)
    for i in (1, 0, 0, 1, 2):
        get(i)
    assert opened == [0, 1, 2]
    assert first.file.closed
    assert scenes.get(7, lambda: None) is None
    monkeypatch.setattr("os.getpid", lambda: -1)  # in a worker, files of the parent are opened anew
    get(2)
    assert opened == [0, 1, 2, 2]


def test_images_in_no_list_are_read_by_windows_too(tmp_path):
    pixels = draw((3, SIDE, SIDE), "uint8")
    write(tmp_path / "a.tif", pixels, **TILED)
    given = ModelInput(16, native=True)
    assert isinstance(given.read(tmp_path / "a.tif"), Scene)
    middle = (SIDE - 16) // 2
    expected = pixels[:, middle : middle + 16, middle : middle + 16].transpose(1, 2, 0)
    np.testing.assert_array_equal(given.batch([tmp_path / "a.tif"])[0], expected)


def test_statistics_and_verify_read_scenes_part_by_part(tmp_path, capsys):
    pixels = draw((2, SIDE, SIDE), "int16")
    pixels[:, :100] = -32768
    write(tmp_path / "a.tif", pixels, nodata=-32768, **TILED)
    write(tmp_path / "b.tif", pixels[:, ::-1], nodata=-32768, compress="lzw")
    assert main(["index", str(tmp_path), "--unlabelled"]) == 0
    options = ["--value-range", "-3000", "3000", "--nodata", "file"]
    assert main(["stats", str(tmp_path), *options, "--json", "--workers", "1"]) == 0
    text = capsys.readouterr().out
    masked = np.ma.masked_equal(pixels, -32768).astype(np.float64)
    found = json.loads(text[text.index("{") :])
    np.testing.assert_allclose(found["mean"], (masked.mean(axis=(1, 2)) + 3000) / 6000, rtol=1e-12)
    np.testing.assert_allclose(found["std"], masked.std(axis=(1, 2)) / 6000, rtol=1e-12)
    assert main(["verify", str(tmp_path)]) == 0
    assert main(["verify", str(tmp_path), "--channels", "2", *options]) == 0
    assert main(["verify", str(tmp_path), "--channels", "2", *options[:3]]) == 3
    assert "values from -32768" in capsys.readouterr().out


PROGRAM = """
import re, sys
import numpy as np
from mae_data.loading.dataset import ListDataset
from mae_data.transforms.native_crop import make_native_transform
dataset = ListDataset(sys.argv[1], "list.txt", make_native_transform(image_size=224), channels=4, value_range=65535,
                      labels="optional", crops=64)
for i in range(64):
    assert dataset[i][0].shape == (224, 224, 4)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def test_a_scene_of_20000_pixels_takes_little_memory(tmp_path):
    shape = {"height": 20000, "width": 20000, "count": 4, "dtype": "uint16", "SPARSE_OK": "TRUE", "BIGTIFF": "YES"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **TILED, **shape) as file:
        file.write(draw((4, 300, 300), "uint16"), window=Window(9000, 9000, 300, 300))
    (tmp_path / "list.txt").write_text("a.tif\n")
    limited = f"ulimit -v 2000000; exec {sys.executable} -c '{PROGRAM}' {tmp_path}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300 * 1024
