"""Our writer against the library's: the same bytes where that is deterministic, the same values everywhere."""

import hashlib

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from mae_core.errors import CheckpointError
from mae_core.weights.formats.safetensors_file import read_safetensors, write_safetensors

RNG = np.random.default_rng(0)
FLOATS = {
    "b.weight": RNG.standard_normal((3, 5)).astype("float32"),
    "a": np.float32(2.5).reshape(()),
    "ü": np.zeros((0, 4), "float32"),
    "c": RNG.standard_normal((4, 6)).astype("float32").T,
    "big": RNG.standard_normal(7).astype(">f4"),
}
OTHERS = {
    kind: RNG.integers(0, 2, (3, 3)).astype(kind)
    for kind in ("float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "float32")
}


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}])
def test_bytes_equal_the_librarys(tmp_path, metadata):
    plain = {name: np.ascontiguousarray(value, "<f4").reshape(value.shape) for name, value in FLOATS.items()}
    write_safetensors(tmp_path / "ours", FLOATS, metadata)
    assert (tmp_path / "ours").read_bytes() == save(plain, metadata or None)


def test_the_library_reads_every_type(tmp_path):
    metadata = {"format": "mae-core", "architecture": '{"name": "ü"}', "schema": "1"}
    total = write_safetensors(tmp_path / "ours", OTHERS, metadata)
    again = write_safetensors(tmp_path / "again", dict(reversed(OTHERS.items())), dict(reversed(metadata.items())))
    data = (tmp_path / "ours").read_bytes()
    assert total == again == hashlib.sha256(data).hexdigest()
    for found in (load_file(tmp_path / "ours"), read_safetensors(tmp_path / "ours")[0]):
        for name, value in OTHERS.items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)
    assert read_safetensors(tmp_path / "ours")[1] == metadata


def test_a_type_that_the_format_lacks_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="complex64"):
        write_safetensors(tmp_path / "ours", {"a": np.zeros(2, "complex64")})
