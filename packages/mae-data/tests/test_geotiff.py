"""Maps keep the place of their scene, as rasterio reads it."""

import numpy as np
import pytest

from mae_data.errors import InputError

rasterio = pytest.importorskip("rasterio", reason="extra geo is not installed")
from rasterio.transform import from_origin  # noqa: E402

from mae_data.images.geotiff import write_class_map, write_map  # noqa: E402


def test_a_map_lies_where_its_scene_lies(tmp_path):
    shape = {"height": 50, "width": 70, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "scene.tif", "w", transform=from_origin(500000, 5e6, 0.5, 0.5), **shape) as file:
        file.write(np.zeros((1, 50, 70), np.uint8))
    cells = np.random.default_rng(0).random((5, 4, 3)).astype(np.float32)
    write_map(tmp_path / "maps/a.tif", cells, ["label", "forest", "wäter"], tmp_path / "scene.tif", (10, 20))
    with rasterio.open(tmp_path / "maps/a.tif") as drawn:
        np.testing.assert_array_equal(drawn.read().transpose(1, 2, 0), cells)
        assert drawn.descriptions == ("label", "forest", "wäter")
        assert drawn.crs == rasterio.crs.CRS.from_epsg(32633)
        with rasterio.open(tmp_path / "scene.tif") as scene:
            assert drawn.xy(2, 3, offset="ul") == scene.xy(2 * 10, 3 * 20, offset="ul")
            assert (drawn.bounds.left, drawn.bounds.top) == (scene.bounds.left, scene.bounds.top)


def test_colours_are_written_without_a_complaint_of_gdal(tmp_path, caplog):
    classes, colours = np.eye(4, dtype=np.uint8), np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    with caplog.at_level("INFO", "rasterio"):
        write_class_map(tmp_path / "a.tif", classes, colours, "b.png", 255)
    assert not [record.message for record in caplog.records if "GDAL signalled" in record.message]
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(1), classes)
        assert (file.colormap(1)[1], file.nodata) == ((4, 5, 6, 255), 255)


def test_a_picture_lies_nowhere(tmp_path):
    write_map(tmp_path / "a.tif", np.zeros((2, 3, 1), np.float32), ["a"], "b.png", (1, 1))
    with rasterio.open(tmp_path / "a.tif") as drawn:
        assert drawn.crs is None


def test_without_rasterio_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "mae-data\[geo\]"'):
        write_map(tmp_path / "a.tif", np.zeros((2, 3, 1), np.float32), ["a"], "b.png", (1, 1))
