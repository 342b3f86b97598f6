"""Small files that cost much are refused by what their headers promise, within a second and little memory."""

import io
import resource
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from mae_data.errors import DataError
from mae_data.images.formats import open_image
from mae_data.images.jpeg import JpegImage, open_lazily
from mae_data.images.jpeg_header import read_frame
from mae_data.images.native_code import native, pillow_resized
from mae_data.images.stored import inspect_image, read_image

SECONDS, MEGABYTES = 2, 500
NOISE = np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)


def jpeg(progressive=True, size=(200, 160)):
    file = io.BytesIO()
    Image.fromarray(NOISE).resize(size).save(file, "JPEG", progressive=progressive, quality=80)
    return file.getvalue()


def scans(count):
    """A progressive JPEG that refines the first component again and again."""
    return jpeg()[:-2] + (b"\xff\xda\0\x08\x01\x01\0\x01\x3f\x10" + bytes(20)) * count + b"\xff\xd9"


def tiff(tags, data=b""):
    """A TIFF of 32-bit tags; the place of its strip is filled in."""
    place = 8 + 2 + 12 * len(tags) + 4 + sum(4 * len(v) for v in tags.values() if v and len(v) > 1)
    lists, entries = b"", b""
    for number, values in sorted((tags | {273: [place]}).items()):
        raw = struct.pack(f"<{len(values)}I", *values)
        value = raw if len(values) == 1 else struct.pack("<I", 14 + 12 * len(tags) + len(lists))
        lists += b"" if len(values) == 1 else raw
        entries += struct.pack("<HHI", number, 4, len(values)) + value
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + lists + data


def strips(side, samples, rows, data):
    """A TIFF of deflated strips that tells the place of one."""
    tags = {256: [side], 257: [side], 258: [8] * samples, 259: [8], 262: [1], 277: [samples], 278: [rows]}
    return tiff(tags | {273: None, 279: [len(data)]}, data)


def inflating(megabytes):
    deflate = zlib.compressobj(9)
    return b"".join(deflate.compress(bytes(1 << 20)) for _ in range(megabytes)) + deflate.flush()


def npy(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(1000)


COSTLY = {
    "strips that are not there": (lambda: strips(3000, 5, 1, bytes(10)), "3000 strips or tiles, and 1 are there"),
    "75 GB": (lambda: strips(5000, 3000, 5000, bytes(10)), "promises 75,000 MB"),
    "a tile of 4 GB": (lambda: tiff({**{n: [1] for n in (256, 257, 258, 259, 262, 273, 277, 279, 324, 325)},
                                     322: [1 << 18], 323: [1 << 18]}), "promises 8,590 MB"),
    "too many pixels": (lambda: strips(60000, 1, 60000, b""), "60000x60000 pixels"),
    "2,000 scans": (lambda: scans(2000), "a JPEG of 2010 scans, above the limit of 100"),
    "20,000 scans": (lambda: scans(20000), "a JPEG of 20010 scans, above the limit of 100"),
    "an array of 72 GB": (lambda: npy((3000, 3000, 1000)), "takes more bytes than it has"),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("read", [read_image, inspect_image, lambda file: open_lazily(file.read())])
def test_small_files_that_cost_much_are_refused(name, read):
    make, words = COSTLY[name]
    file, before, started = io.BytesIO(make()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(DataError, match=words):
        read(file)
    assert time.monotonic() - started < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024


def test_a_frame_that_is_cut_short_is_passed_over():
    assert read_frame(b"\xff\xd8\xff\xc0\0\x04\x08\0\xff\xd9") is None


def test_pages_that_lead_in_a_circle_are_refused():
    """tifffile would follow them for ever."""
    file = tiff(
        {256: [4], 257: [4], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 278: [4], 279: [48], 273: None}, bytes(48)
    )
    link = 8 + 2 + 12 * 9  # behind the tags of the one page
    for target in (8, len(file)):
        circle = bytearray(file + bytes(2) + struct.pack("<I", len(file)))  # a page without tags that leads to itself
        circle[link : link + 4] = struct.pack("<I", target)
        with pytest.raises(DataError, match="pages lead in a circle"):
            read_image(io.BytesIO(bytes(circle)), 3)
    assert read_image(io.BytesIO(file), 3).size == (4, 4)


def test_strips_that_inflate_without_bound_are_refused(monkeypatch):
    """Where imagecodecs is missing, which stops by itself."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="a strip or tile of 320 bytes inflates to more"):
        inspect_image(io.BytesIO(strips(8, 5, 8, inflating(300))))


def test_what_is_sound_passes(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for form, options in (("TIFF", {"compression": "tiff_deflate"}), ("TIFF", {"compression": "jpeg"}), ("TIFF", {}),
                          ("PNG", {}), ("JPEG", {"progressive": True}), ("JPEG", {})):  # fmt: skip
        file = io.BytesIO()
        Image.fromarray(NOISE).save(file, form, **options)
        file.seek(0)
        assert open_image(file).size == (200, 160)
    assert open_image(io.BytesIO(scans(80))).size == (200, 160)


def cut_after(data, count):
    """End a progressive JPEG after some of its scans."""
    place = 0
    for _ in range(count + 1):
        place = data.index(b"\xff\xda", place + 1)
    tables = data.rfind(b"\xff\xc4", 0, place)
    return data[: tables if tables > data.rfind(b"\xff\xda", 0, place) else place] + b"\xff\xd9"


@pytest.mark.skipif(native() is None, reason="the compiled part is not there")
@pytest.mark.parametrize("count", range(1, 10))
def test_a_progressive_jpeg_without_all_scans_has_pillows_pixels(count):
    data = cut_after(jpeg(), count)
    frame = read_frame(data)
    assert frame
    assert (frame.scans, frame.complete) == (count, False)
    box, size = (50, 40, 70, 90), (30, 40)
    image = open_lazily(data)
    assert isinstance(image, Image.Image)
    np.testing.assert_array_equal(
        pillow_resized(image, box, size), pillow_resized(open_image(io.BytesIO(data)), box, size)
    )


@pytest.mark.skipif(native() is None, reason="the compiled part is not there")
def test_whole_jpegs_are_decoded_by_parts():
    for progressive in (False, True):
        assert isinstance(open_lazily(jpeg(progressive)), JpegImage)
