"""DICOM by the frame; right values are those of pydicom, for its own files."""

import io
import re
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main
from mae_data.errors import DataError, InputError
from mae_data.images.stored import inspect_image, read_image
from mae_data.images.value_range import ANY_FLOATS, as_value_range
from mae_data.images.volumes import dicom
from mae_data.sources.folders.folder_index import index_folder
from mae_data.sources.open_source import open_source

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
from pydicom.data import get_testdata_file  # noqa: E402 - the package is an extra
from pydicom.pixels import apply_color_lut, apply_modality_lut  # noqa: E402

NUMBERS = np.random.default_rng(0)
GREY = [
    "693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "JPEG2000.dcm", "MR_small.dcm", "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_padded.dcm",
    "examples_overlay.dcm", "image_dfl.dcm", "liver_1frame.dcm", "liver_expb_1frame.dcm", "rtdose_1frame.dcm",
    "rtdose_expb_1frame.dcm", "rtdose_rle_1frame.dcm", "dicomdirtests/77654033/CR1/6154",
]  # fmt: skip
COLOUR = [
    "ExplVR_BigEnd.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_dcmd.dcm", "SC_rgb_rle.dcm", "SC_rgb_small_odd.dcm",
    "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_gdcm_KY.dcm", "examples_jpeg2k.dcm", "examples_rgb_color.dcm",
    "SC_rgb_small_odd_jpeg.dcm", "SC_jpeg_no_color_transform.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm",
]  # fmt: skip
FRAMES = [("rtdose.dcm", 14), ("rtdose_expb.dcm", 0), ("rtdose_rle.dcm", 7), ("SC_rgb_rle_2frame.dcm", 1),
          ("examples_ybr_color.dcm", 29), ("SC_rgb_rle_32bit_2frame.dcm", 1)]  # fmt: skip


def shipped(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not ship {name}")
    return path


def right_values(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = pydicom.dcmread(path)
        stored = file.pixel_array
        if file.PhotometricInterpretation == "MONOCHROME1":
            stored = 2**file.BitsStored - 1 - stored
        return apply_modality_lut(stored, file)


def make(path, pixels, *, like="CT_small.dcm", **tags):
    """Write pixels as the file that pydicom ships, with other tags."""
    file = pydicom.dcmread(shipped(like))
    file.Rows, file.Columns = pixels.shape[-2:]
    file.PixelData = pixels.tobytes()
    file["PixelData"].VR = "OW"
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.BitsAllocated = file.BitsStored = 8 * pixels.itemsize
    file.HighBit = file.BitsStored - 1
    if pixels.ndim > 2:
        file.NumberOfFrames = len(pixels)
    for name, value in tags.items():
        if value is None and name in file:
            del file[name]
        elif value is not None:
            setattr(file, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path)
    return path


@pytest.mark.parametrize("name", GREY + COLOUR)
def test_files_have_pydicoms_values(name):
    path = shipped(name)
    right = np.atleast_3d(right_values(path))
    mine = read_image(path, right.shape[2], ANY_FLOATS).pixels
    np.testing.assert_array_equal(mine, right.astype(np.float32))


@pytest.mark.parametrize(("name", "frame"), FRAMES)
def test_frames_have_pydicoms_values(name, frame):
    path = shipped(name)
    right = np.atleast_3d(right_values(path)[frame])
    mine = read_image(f"{path}[{frame}]", right.shape[2], ANY_FLOATS).pixels
    np.testing.assert_array_equal(mine, right.astype(np.float32))


def test_pictures_of_8_bits_are_pictures():
    path = shipped("examples_rgb_color.dcm")
    right = right_values(path)
    np.testing.assert_array_equal(np.asarray(read_image(path, 3)), right)
    np.testing.assert_array_equal(np.asarray(read_image(path, 1)), np.asarray(Image.fromarray(right).convert("L")))
    grey = np.asarray(read_image(shipped("liver_1frame.dcm"), 3))
    np.testing.assert_array_equal(grey, np.repeat(right_values(shipped("liver_1frame.dcm"))[..., None], 3, 2))
    assert inspect_image(path) == (3, np.uint8)
    palette = shipped("examples_palette.dcm")
    file = pydicom.dcmread(palette)
    np.testing.assert_array_equal(
        np.asarray(read_image(palette, 3)), apply_color_lut(file.pixel_array, file).astype(np.uint16) >> 8
    )


def test_a_preamble_that_looks_like_tiff_and_odd_tags_say_nothing(tmp_path, capfd):
    """CT_small's first bytes are those of a TIFF; Pillow and pydicom would warn."""
    for name in ("CT_small.dcm", "badVR.dcm", "J2K_pixelrep_mismatch.dcm"):
        (tmp_path / name).write_bytes(Path(shipped(name)).read_bytes())
    python = "import sys; from mae_data.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-W", "default", "-c", python, "verify", tmp_path, "--workers", "1"],
                          capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert "3 images checked, 1 bad" in done.stdout


def test_what_pydicom_remarks_does_not_reach_the_log_of_a_run():
    """It names no file, and comes again with each reading."""
    python = (
        "import logging, sys; logging.basicConfig(); from mae_data.images.stored import inspect_image;"
        " print(inspect_image(sys.argv[1]).channels)"
    )
    words = [sys.executable, "-c", python, shipped("MR_small_padded.dcm")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_range_of_floats_is_a_window():
    path = shipped("CT_small.dcm")
    right = right_values(path).clip(-160, 240)
    mine = read_image(path, 1, as_value_range([-160, 240]))
    np.testing.assert_array_equal(mine.pixels[..., 0], right)
    assert 0 < (mine.pixels == 240).mean() < 1
    with pytest.raises(DataError, match=r"float32 values, but the value range 65535 .* as \[low, high\] \(VALUE_RANGE"):
        read_image(path, 1, as_value_range(65535))


def test_monochrome1_is_turned_within_its_bits(tmp_path):
    pixels = NUMBERS.integers(0, 4096, (6, 7), dtype=np.uint16)
    scale = {"RescaleSlope": None, "RescaleIntercept": None}
    make(tmp_path / "a.dcm", pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11, **scale)
    mine = read_image(tmp_path / "a.dcm", 1, as_value_range(4095)).pixels[..., 0]
    np.testing.assert_array_equal(mine, 4095 - pixels)
    signed = pixels.astype(np.int16) - 2048
    make(tmp_path / "b.dcm", signed, PhotometricInterpretation="MONOCHROME1", **scale)
    np.testing.assert_array_equal(read_image(tmp_path / "b.dcm", 1, ANY_FLOATS).pixels[..., 0], -1.0 - signed)


def test_frames_of_one_file_have_scales_of_their_own(tmp_path):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    frames = []
    for slope in (1, 3):
        scale, frame = Dataset(), Dataset()
        scale.RescaleSlope, scale.RescaleIntercept, frame.PixelValueTransformationSequence = slope, -5, None
        frame.PixelValueTransformationSequence = Sequence([scale])
        frames.append(frame)
    pixels = NUMBERS.integers(0, 999, (2, 6, 7), dtype=np.int16)
    path = make(tmp_path / "a.dcm", pixels, PerFrameFunctionalGroupsSequence=Sequence(frames))
    for number, slope in enumerate((1, 3)):
        mine = read_image(f"{path}[{number}]", 1, ANY_FLOATS).pixels[..., 0]
        np.testing.assert_array_equal(mine, pixels[number] * slope - 5)


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("examples_ybr_color.dcm", "", r"it holds 30 frames: name one, such as NAME\[0\]"),
        ("examples_ybr_color.dcm", "[30]", "there is no frame 30 of 30; frames count from 0"),
        ("examples_ybr_color.dcm", "[:,:,3]", r"slices along axes are for NIfTI volumes; write \[NUMBER\]"),
        ("rtplan.dcm", "", "it holds no image"),
        ("MR_truncated.dcm", "", "cannot decode the image"),
        ("badVR.dcm", "", "cannot decode the image"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", "", r"cannot decode the image \(pillow: "),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(name, place, message, capfd):
    with pytest.raises(DataError, match=message) as refused:
        read_image(shipped(name) + place, 1, ANY_FLOATS)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_missing_decoders_are_named():
    if any(__import__("importlib.util").util.find_spec(name) for name in ("gdcm", "jpeg_ls", "pylibjpeg")):
        pytest.skip("a decoder is installed")
    with pytest.raises(DataError, match=r"DICOM with JPEG-LS Lossless .* pip install python-gdcm"):
        read_image(shipped("MR_small_jpeg_ls_lossless.dcm"), 1, ANY_FLOATS)


def test_hostile_files_are_refused(tmp_path):
    small = NUMBERS.integers(0, 99, (4, 4), dtype=np.uint16)
    big = make(tmp_path / "a.dcm", small)
    file = pydicom.dcmread(big)
    file.Rows = file.Columns = 60000
    file.save_as(big)
    with pytest.raises(DataError, match="60000x60000 pixels are above the limit"):
        read_image(big, 1, ANY_FLOATS)
    file.Rows = file.Columns = 9000
    file.SamplesPerPixel = 3
    file.save_as(big)
    with pytest.raises(DataError, match="its header promises 486 MB of pixels"):
        read_image(big, 3, ANY_FLOATS)
    # a progressive JPEG of thousands of scans, as a frame
    jpeg = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(jpeg, "JPEG", progressive=True)
    data = jpeg.getvalue()[:-2] + (b"\xff\xda\0\x08\x01\x01\0\x01\x3f\x10" + bytes(20)) * 3000 + b"\xff\xd9"
    frame = make(tmp_path / "b.dcm", np.zeros((8, 8), np.uint8))
    file = pydicom.dcmread(frame)
    file.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    file.PixelData = pydicom.encaps.encapsulate([data])
    file["PixelData"].is_undefined_length = True
    file.save_as(frame)
    with pytest.raises(DataError, match="a JPEG of 3006 scans, above the limit"):
        read_image(frame, 1, ANY_FLOATS)


def test_a_deflated_file_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    path = Path(shipped("image_dfl.dcm"))
    read_image(path, 1, ANY_FLOATS)
    monkeypatch.setattr("mae_data.images.bounds.MAX_BYTES", 1000)
    monkeypatch.setattr("mae_data.images.bounds.MAX_RATIO", 1)
    with pytest.raises(DataError, match="its header promises"):
        read_image(path, 1, ANY_FLOATS)


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch, capsys):
    path = make(tmp_path / "set/a.dcm", np.zeros((4, 5), np.uint16))
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    monkeypatch.setattr("mae_data.sources.folders.folder_scan.can_read_dicom", lambda: False)
    with pytest.raises(DataError, match=r'DICOM needs pydicom: pip install "mae-data\[medical\]"'):
        read_image(path, 1, ANY_FLOATS)
    assert main(["index", str(tmp_path / "set")]) == 3
    assert 'pip install "mae-data[medical]"' in capsys.readouterr().err
    Image.new("L", (4, 4)).save(tmp_path / "set/b.png")
    assert main(["index", str(tmp_path / "set")]) == 0
    assert "1 DICOM files (pydicom is not installed)" in capsys.readouterr().out


def series(root, patients=4, slices=6, name="{:03d}.dcm"):
    for patient in range(patients):
        for number in range(slices):
            make(
                root / ("ill", "well")[patient % 2] / f"s{patient}" / name.format(slices - number),
                NUMBERS.integers(0, 2000, (8, 9), dtype=np.int16),
                PatientID=f"P{patient // 2}", SeriesInstanceUID=f"1.2.{patient}", InstanceNumber=number + 1,
            )  # fmt: skip
    return root


def test_every_nth_slice_of_a_series_by_its_number(tmp_path):
    index = index_folder(series(tmp_path), 0, slicing=dicom_slicing(3))
    names = [path for path, _ in index.train]
    assert len(names) == 8
    assert {name.rpartition(b"/")[2] for name in names} == {b"006.dcm", b"003.dcm"}  # numbers 1 and 4
    whole = index_folder(tmp_path, 0)
    assert len(whole.train) == 24


def dicom_slicing(every):
    from mae_data.sources.folders.file_slices import Slicing

    return Slicing(every=every)


def test_patients_stay_in_one_part(tmp_path, capsys):
    root = series(tmp_path / "scans")
    assert main(["index", str(root), "--group-by", "patient", "--val-fraction", "0.5"]) == 0
    lists = [(root / f"{part}_list.txt").read_text().splitlines() for part in ("train", "val")]
    patients = [{pydicom.dcmread(root / line.split()[0]).PatientID for line in lines} for lines in lists]
    assert patients == [{"P1"}, {"P0"}] or patients == [{"P0"}, {"P1"}]
    assert [len(lines) for lines in lists] == [12, 12]
    Image.new("L", (4, 4)).save(root / "ill/a.png")
    with pytest.raises(InputError, match=r"none in 1 of 25 images: ill/a.png; move these away"):
        index_folder(root, group_by="patient")


def test_names_without_an_ending_and_frames_are_found(tmp_path):
    series(tmp_path, 2, 2, "IM{:06d}")
    make(tmp_path / "ill/1.2.840.77", NUMBERS.integers(0, 9, (3, 8, 9), dtype=np.int16))
    (tmp_path / "ill/README").write_text("x" * 200)
    (tmp_path / "ill/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    index = index_folder(tmp_path, 0)
    names = [path for path, _ in index.train]
    assert names[:3] == [b"ill/1.2.840.77[0]", b"ill/1.2.840.77[1]", b"ill/1.2.840.77[2]"]
    assert len(names) == 3 + 4
    assert index.left_out["other files (no ending)"] == 2


def test_a_damaged_file_is_a_bad_image_and_ends_nothing(tmp_path, capsys):
    root = series(tmp_path / "scans", 2, 2)
    (root / "ill/bad.dcm").write_bytes(bytes(128) + b"DICM" + NUMBERS.bytes(400))
    assert main(["index", str(root), "--val-fraction", "0"]) == 0
    assert main(["verify", str(root), "--workers", "1"]) == 3
    assert re.search(r"bad: .*ill/bad.dcm.*\n5 images checked, 1 bad", capsys.readouterr().out)


def test_shards_hold_slices_as_files_of_their_own(tmp_path):
    root = tmp_path / "scans"
    pixels = NUMBERS.integers(0, 999, (3, 8, 9), dtype=np.int16)
    make(root / "ill/a.b.dcm", pixels)
    make(root / "well/c.dcm", pixels[0])
    assert main(["index", str(root), "--val-fraction", "0"]) == 0
    assert main(["shard", str(root), str(tmp_path / "shards"), "--workers", "1"]) == 0
    with tarfile.open(tmp_path / "shards/train-000000.tar") as tar:
        assert [name for name in tar.getnames() if not name.endswith("cls")] == [
            "ill/a_b_dcm[0].nii", "ill/a_b_dcm[1].nii", "ill/a_b_dcm[2].nii", "well/c.dcm"
        ]  # fmt: skip
    images = open_source(tmp_path / "shards")
    for number in range(3):
        mine = read_image(io.BytesIO(images.read(number)), 1, ANY_FLOATS).pixels[..., 0]
        np.testing.assert_array_equal(mine, pixels[number] - 1024.0)


def test_tags_are_read_without_pixels(tmp_path):
    with open(shipped("examples_ybr_color.dcm"), "rb") as file:
        tags = dicom.read_tags(file)
        assert file.tell() < 40_000 < file.seek(0, io.SEEK_END) / 5
    assert (tags.frames, tags.patient) == (30, pydicom.dcmread(shipped("examples_ybr_color.dcm")).PatientID)
