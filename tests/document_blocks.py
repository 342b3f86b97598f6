"""The fenced blocks of all pages, and what they need to run: a folder as their reader has it."""

import importlib.util
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from site_pages import pages

SHELL = ("", "sh", "shell", "bash", "console")
PAGES = [page.source for page in pages() if page.section != "Changes"]
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>not run|with): (?P<said>.+?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_HEREDOC = re.compile(r"^(cat > \S+ <<(\w+)\n.*?^\2)$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A shell or Python block.

    Args:
        not_run: why it is not run; empty where it is.
        before: Python that gives it the names that its text only speaks of.
    """

    page: Path
    kind: str
    text: str
    not_run: str
    before: str

    def commands(self) -> Iterator[str]:
        """Yield the command lines of a shell block, a whole `cat > FILE <<END` as one; output is left out."""
        for number, part in enumerate(_HEREDOC.split(self.text)):
            if number % 3 == 1:
                yield part
            elif number % 3 == 0:
                lines = [line for line in part.replace("\\\n", " ").splitlines() if line.strip()]
                typed = [line[2:] for line in lines if line.startswith("$ ")]
                yield from (re.sub(r"\s+# .*", "", line).strip() for line in typed or lines)


def blocks_of(page: Path) -> list[Block]:
    """List the shell and Python blocks of a page."""
    found = []
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match["kind"] in (*SHELL, "python"):
            said = {match["mark"]: match["said"]} if match["mark"] else {}
            kind = "python" if match["kind"] == "python" else "shell"
            found.append(Block(page, kind, match["text"], said.get("not run", ""), said.get("with", "")))
    return found


def write_pictures(root: Path) -> None:
    """Write what the pages call pets, photos, tiles, cat.jpg, ...: small, and told apart by colour."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog", "owl")):
        for i in range(20):
            pixels = rng.integers(0, 128, (6, 8, 3), dtype=np.uint8)
            pixels[..., label] += 100
            path = root / "pets" / name / f"{name} {i:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(path, quality=95)
    (root / "photos").mkdir()
    for name in ("a", "b", "cat", "dog"):
        shutil.copy(root / f"pets/cat/cat 0{len(name)}.jpg", root / f"{name}.jpg")
        shutil.copy(root / f"{name}.jpg", root / "photos")
    (root / "tiles").mkdir()
    for i in range(20):
        np.save(root / f"tiles/tile_{i}.npy", rng.integers(0, 10000, (32, 32, 5), dtype=np.uint16))
    if find_spec("rasterio"):
        write_scenes(root / "naip")
    for place in ("line 1", "line 2"):
        (root / "thermal" / place).mkdir(parents=True)
        for i in range(12):
            warm = rng.integers(7200, 9000, (48, 64)).astype(np.uint16)  # 14 bits of a camera
            Image.fromarray(warm).save(root / "thermal" / place / f"{i:03d}.png")
    write_streets(root / "streets")
    if importlib.util.find_spec("tifffile"):
        write_cells(root / "cells", rng)
    if importlib.util.find_spec("pydicom") and importlib.util.find_spec("nibabel"):
        write_scans(root, rng)


def write_streets(root: Path) -> None:
    """Write pictures of sky, houses and road, and their masks."""
    rng = np.random.default_rng(1)
    for part, count in (("train", 24), ("val", 8)):
        for i in range(count):
            mask = np.zeros((48, 64), np.uint8)
            mask[rng.integers(10, 24) :, rng.integers(0, 20) : rng.integers(40, 64)] = 1
            mask[rng.integers(30, 40) :] = 2
            pixels = np.array([[120, 160, 220], [160, 100, 80], [90, 90, 90]])[mask] + rng.integers(
                -40, 40, (48, 64, 1)
            )
            for kind, picture in (("images", pixels.clip(0, 255).astype(np.uint8)), ("masks", mask)):
                path = root / kind / part / f"{i:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)
    (root / "classes.txt").write_text("sky #4682b4\nhouse #464646\nroad #804080\n")


def write_cells(root: Path, rng: np.random.Generator) -> None:
    """Write OME-TIFF files of three channels."""
    import tifffile

    for dose in ("control", "treated"):
        (root / dose).mkdir(parents=True)
        for i in range(12):
            planes = rng.integers(0, 4096, (3, 64, 64), dtype=np.uint16)
            names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "actin", "tubulin"]}}
            tifffile.imwrite(root / dose / f"well_{i:02d}.ome.tif", planes, photometric="minisblack", metadata=names)


def write_scans(root: Path, rng: np.random.Generator) -> None:
    """Write a computed tomography as DICOM, a folder for each patient, and a volume as NIfTI."""
    import nibabel
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    for patient in range(8):
        folder = root / "scans" / ("healthy", "ill")[patient % 2] / f"patient{patient}"
        folder.mkdir(parents=True)
        for number in range(6):
            meta = pydicom.dataset.FileMetaDataset()
            meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
            meta.MediaStorageSOPInstanceUID = f"1.2.{patient}.{number}"
            slice_ = pydicom.Dataset()
            slice_.file_meta, slice_.preamble = meta, bytes(128)
            slice_.PatientID, slice_.SeriesInstanceUID, slice_.InstanceNumber = f"A{patient}", f"1.2.{patient}", number
            slice_.PhotometricInterpretation, slice_.SamplesPerPixel = "MONOCHROME2", 1
            slice_.RescaleSlope, slice_.RescaleIntercept, slice_.PixelRepresentation = 1, -1024, 0
            slice_.Rows, slice_.Columns, slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 64, 64, 16, 12, 11
            slice_.PixelData = rng.integers(0, 2000, (64, 64), dtype=np.uint16).tobytes()
            slice_.save_as(folder / f"IM{number:04d}", enforce_file_format=True)
    (root / "brains").mkdir()
    for name in ("sub-01", "sub-02"):
        volume = rng.integers(0, 900, (40, 48, 24), dtype=np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), root / "brains" / f"{name}.nii.gz")


def write_scenes(folder: Path) -> None:
    """Write GeoTIFFs as NAIP's: four named bands of 8 bits, and a border without data."""
    import rasterio
    from rasterio.transform import from_origin

    rng = np.random.default_rng(0)
    shape = {"height": 96, "width": 128, "count": 4, "dtype": "uint8", "nodata": 0, "crs": "EPSG:26917"}
    for i in range(8):
        path = folder / ("field", "wood")[i % 2] / f"m_{i}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(20 + 80 * (i % 2), 140 + 80 * (i % 2), (4, 96, 128), dtype=np.uint8)
        pixels[:, :, : 4 * i] = 0
        with rasterio.open(path, "w", transform=from_origin(3e5 + i, 4e6, 0.6, 0.6), **shape) as file:
            file.write(pixels)
            for number, band in enumerate(("red", "green", "blue", "nir"), 1):
                file.set_band_description(number, band)
