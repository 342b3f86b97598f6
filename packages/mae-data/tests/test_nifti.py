"""NIfTI volumes by the slice; right values are those of nibabel, for its own files."""

import gzip
import io
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_data import preprocess
from mae_data.cli import main
from mae_data.errors import DataError
from mae_data.images.stored import inspect_image, read_image
from mae_data.images.value_range import ANY_FLOATS, as_value_range
from mae_data.images.volumes.slices import read_slice, split_name
from mae_data.sources.folders.folder_index import index_folder
from mae_data.sources.image_list import read_list
from mae_data.sources.open_source import open_source

nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: there are no right values")
SHIPPED = Path(nibabel.__file__).parent / "tests/data"
NUMBERS = np.random.default_rng(0)
CASES = [
    ("anatomical.nii", ("[:,:,3]", "[:,40,:]", "[32,:,:]", "[7]")),  # big-endian int16
    ("functional.nii", ("[:,:,2,19]", "[:,0,:,3]", "[16,:,:,0]")),  # slope and intercept, four axes
    ("example4d.nii.gz", ("[:,:,23,1]", "[:,5,:,1]", "[0,:,:,0]")),
    ("example_nifti2.nii.gz", ("[:,:,0,0]", "[31,:,:,1]")),
    ("reoriented_anat_moved.nii", ("[:,:,21]", "[:,25,:]")),  # big-endian float32
    ("standard.nii.gz", ("[:,:,6]", "[:,4,:]", "[3,:,:]")),
]


def numpy_slice(array, name):
    return array[tuple(slice(None) if part == ":" else int(part) for part in name[1:-1].split(","))]


def save(path, array, **header):
    image = nibabel.Nifti1Image(array, np.eye(4))
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in CASES for name in names])
def test_slices_have_nibabels_values(file, name):
    path = SHIPPED / file
    if not path.exists():
        pytest.skip("this nibabel ships no such file")
    right = numpy_slice(nibabel.load(path).get_fdata(), name)
    mine = read_image(f"{path}{name}", 1, ANY_FLOATS).pixels[..., 0]
    assert mine.dtype == np.float32
    np.testing.assert_array_equal(mine, right.astype(np.float32))
    alone = nibabel.Nifti2Image.from_bytes(read_slice(*split_name(os.fsencode(f"{path}{name}")), 10**6))
    np.testing.assert_array_equal(alone.get_fdata(), right)  # what travels is a NIfTI file


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "float32", "float64"]
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_each_type(tmp_path, dtype, ending):
    array = (NUMBERS.random((5, 7, 3)) * 100).astype(dtype)
    path = tmp_path / f"a{ending}"
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), dtype=dtype), path)
    for name in ("[:,:,2]", "[:,6,:]", "[1]"):
        mine = read_image(f"{path}{name}", 1, ANY_FLOATS).pixels[..., 0]
        np.testing.assert_array_equal(mine, numpy_slice(array, name).astype(np.float32))


def test_small_integers_without_a_scale_stay_as_stored(tmp_path):
    path = save(tmp_path / "a.nii", np.arange(60, dtype=np.uint16).reshape(4, 5, 3))
    assert inspect_image(f"{path}[:,:,1]") == (1, np.uint16)
    np.testing.assert_array_equal(
        read_image(f"{path}[:,:,1]", 1, as_value_range(4095)).pixels[..., 0], np.arange(60).reshape(4, 5, 3)[:, :, 1]
    )
    with pytest.raises(DataError, match=r"uint16 values, but the value range 255 is one of uint8.*VALUE_RANGE"):
        read_image(f"{path}[:,:,1]", 1)


def test_a_range_of_floats_is_a_window(tmp_path):
    path = save(tmp_path / "a.nii", np.arange(-30, 30, dtype=np.int16).reshape(4, 5, 3) * 50)
    right = nibabel.load(path).get_fdata()[:, :, 1].clip(-160, 240)
    np.testing.assert_array_equal(read_image(f"{path}[:,:,1]", 1, as_value_range([-160, 240])).pixels[..., 0], right)
    batch = preprocess(f"{path}[:,:,1]", (4, 5), 1.0, channels=1, value_range=[-160, 240])
    np.testing.assert_array_equal(batch[0, ..., 0], right)


def test_colours(tmp_path):
    colours = NUMBERS.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours.view(kind)[..., 0], np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.nii.gz[:,:,2]", 3)), colours[:, :, 2])
    assert inspect_image(tmp_path / "a.nii.gz[:,:,2]") == (3, np.uint8)
    grey = np.asarray(read_image(tmp_path / "a.nii.gz[:,:,2]", 1)).astype(int)
    assert abs(grey - colours[:, :, 2] @ np.array([0.299, 0.587, 0.114])).max() <= 1


@pytest.mark.parametrize(
    ("shape", "name", "message"),
    [
        ((4, 5, 6), "", r"a volume of shape \(4, 5, 6\): name a slice of it, such as NAME\[:,:,0\]"),
        ((4, 5, 6), "[:,:,6]", r"there is no slice \[:,:,6\] in shape \(4, 5, 6\); slices count from 0"),
        ((4, 5, 6), "[1,2,:]", r"\[1,2,:\] is no slice of shape \(4, 5, 6\); write such as \[:,:,0\]"),
        ((4, 5, 6, 2), "[:,:,1]", r"\[:,:,1,:\] is no slice of shape \(4, 5, 6, 2\); write such as \[:,:,0,0\]"),
        ((4, 5, 6, 1, 3), "[:,:,1]", r"shape \(4, 5, 6, 1, 3\) is not that of a slice, a volume or several"),
    ],
)
def test_what_is_no_slice_is_refused(tmp_path, shape, name, message):
    path = save(tmp_path / "a.nii", np.zeros(shape, np.int16))
    with pytest.raises(DataError, match=message):
        read_image(f"{path}{name}", 1, ANY_FLOATS)


def test_complex_values_and_nan_are_refused(tmp_path):
    save(tmp_path / "c.nii", np.zeros((4, 5, 6), np.complex64))
    with pytest.raises(DataError, match="values of type complex"):
        read_image(tmp_path / "c.nii[:,:,0]", 1, ANY_FLOATS)
    save(tmp_path / "n.nii", np.full((4, 5, 6), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN or infinite"):
        read_image(tmp_path / "n.nii[:,:,0]", 1, as_value_range([0, 1]))


def lie(data, place, letter, *numbers):
    return data[:place] + np.array(numbers, letter).tobytes() + data[place + 2 * len(numbers) :]


HOSTILE = {
    "cut off": (lambda data: data[:500], "it is cut off: shape"),
    "a header alone": (lambda data: lie(data, 42, "<i2", 30000, 30000, 30000)[:352], "it is cut off: shape"),
    "a packed header": (lambda data: gzip.compress(lie(data, 42, "<i2", 30000, 30000, 30000)), "promises 54,000"),
    "packed, cut off": (lambda data: gzip.compress(data)[:300], "cannot decode|cut off"),
    "no sides": (lambda data: lie(data, 42, "<i2", 4, 0, -6), "its header is damaged: 3 axes"),
    "bits": (lambda data: lie(data, 70, "<i2", 1), "values of type bits"),
    "an intercept of NaN": (lambda data: data[:112] + np.array([2, np.nan], "<f4").tobytes() + data[120:], "intercept"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_damaged_and_hostile_files_are_refused_in_one_line(tmp_path, case):
    array = NUMBERS.integers(0, 999, (14, 15, 16), dtype=np.int16)
    good = save(tmp_path / "good.nii", array).read_bytes()
    damage, message = HOSTILE[case]
    (tmp_path / "a.nii").write_bytes(damage(good))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=message) as refused:
        read_image(tmp_path / "a.nii[:,:,15]", 1, ANY_FLOATS)
    assert "\n" not in str(refused.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_more_slices_than_anyone_has_are_one_bad_image(tmp_path):
    array = np.zeros((1, 1, 2, 2), np.uint8)
    good = save(tmp_path / "a.nii", array).read_bytes()
    (tmp_path / "a.nii").unlink()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(lie(good, 42, "<i2", 1, 1, 32000, 8000)[:352]))
    assert [path for path, _ in index_folder(tmp_path).train] == [b"a.nii.gz"]


def test_index_lists_the_slices_and_all_commands_take_them(tmp_path, capsys):
    root = tmp_path / "scans"
    for name in ("a", "b"):
        root.joinpath(name).mkdir(parents=True)
        save(root / name / "one.nii.gz", NUMBERS.integers(0, 900, (12, 14, 8), dtype=np.int16))
        save(root / name / "two.nii", NUMBERS.integers(0, 900, (12, 14, 9, 2), dtype=np.int16))
    assert main(["index", str(root), "--every", "4", "--group-by", "folder", "--val-fraction", "0"]) == 0
    assert (root / "train_list.txt").read_text().split("\n")[:8] == [
        "a/one.nii.gz[:,:,0] 0", "a/one.nii.gz[:,:,4] 0",
        *(f"a/two.nii[:,:,{z},{t}] 0" for t in (0, 1) for z in (0, 4, 8)),
    ]  # fmt: skip
    assert main(["index", str(root), "--axis", "0", "--every", "6", "--force"]) == 0
    assert "a/one.nii.gz[6,:,:] 0" in (root / "train_list.txt").read_text()
    assert main(["verify", str(root), "--workers", "2", "--channels", "1", "--value-range", "0", "900"]) == 0
    assert "12 images checked, 0 bad, 0 duplicates" in capsys.readouterr().out
    assert main(["stats", str(root), "--workers", "1", "--value-range", "0", "900", "--json"]) == 0
    images = read_list(root / "train_list.txt")
    right = np.stack([read_image(root / images.path(i), 1, ANY_FLOATS).pixels for i in (0, 1)])
    assert right.shape == (2, 14, 8, 1)
    assert "nothing to do" not in capsys.readouterr().out
    assert main(["index", str(root), "--axis", "3"]) == 2
    assert "axes are 0, 1 and 2" in capsys.readouterr().err


def test_a_choice_of_slices_that_chooses_nothing_is_said(tmp_path, capsys):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    assert main(["index", str(tmp_path), "--every", "4"]) == 0
    assert "--axis and --every have nothing to do" in capsys.readouterr().out


def test_statistics_are_those_of_nibabel(tmp_path, capsys):
    path = SHIPPED / "functional.nii"
    (tmp_path / "functional.nii").write_bytes(path.read_bytes())
    right = nibabel.load(path).get_fdata().clip(5000, 7000)
    assert main(["stats", str(tmp_path), "--value-range", "5000", "7000", "--workers", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == 60
    assert said["mean"] == [pytest.approx((right.mean() - 5000) / 2000, abs=1e-6)]
    assert said["std"] == [pytest.approx(right.std() / 2000, abs=1e-6)]


def test_a_folder_without_lists_is_a_source_that_follows_its_volumes(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))
    path = save(tmp_path / "scans.nii", np.zeros((4, 5, 6), np.int16))
    root = tmp_path / "root"
    root.mkdir()
    path.rename(root / "a.nii")
    os.utime(root / "a.nii", ns=(10**18, 10**18))
    os.utime(root, ns=(10**18, 10**18))
    assert len(open_source(root, labels="optional")) == 6
    state = os.stat(root)
    (root / "a.nii").write_bytes(save(tmp_path / "b.nii", np.zeros((4, 5, 7), np.int16)).read_bytes())
    os.utime(root, ns=(state.st_mtime_ns, state.st_mtime_ns))
    assert len(open_source(root, labels="optional")) == 7


@pytest.mark.parametrize("order", ["ahead", "back"])
def test_a_packed_volume_is_never_held(tmp_path, order):
    """A volume of 200 MB through a process that grows by a few slices."""
    array = np.broadcast_to(NUMBERS.integers(0, 9, (512, 512, 1), dtype=np.int16), (512, 512, 400))
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="w", compresslevel=1) as packed:
        save(tmp_path / "a.nii", array[..., :1])
        packed.write(lie((tmp_path / "a.nii").read_bytes()[:352], 40, "<i2", 3, 512, 512, 400))
        for number in range(400):
            packed.write((array[..., number] + number).astype("<i2").tobytes("F"))
    (tmp_path / "b.nii.gz").write_bytes(buffer.getvalue())
    del array, buffer
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first, *rest = (398, 399) if order == "ahead" else (30, 3)
    pixels = read_image(tmp_path / f"b.nii.gz[:,:,{first}]", 1, ANY_FLOATS).pixels
    for number in rest:
        other = read_image(tmp_path / f"b.nii.gz[:,:,{number}]", 1, ANY_FLOATS).pixels
        np.testing.assert_array_equal(other - number, pixels - first)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


def test_a_name_that_is_a_file_is_a_file(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6), np.int16))
    os.rename(path, tmp_path / "a.nii[3]")
    assert split_name(os.fsencode(tmp_path / "a.nii[3]")) is None
    assert split_name(b"a.nii[3]") == (b"a.nii", (3,))
    assert split_name(b"a[:,1]b.nii") is None
    assert split_name(b"a.nii[1,2,3,4,5]") is None
