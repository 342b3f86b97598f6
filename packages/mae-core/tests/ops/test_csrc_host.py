"""The CUDA kernels of csrc/, compiled by a C++ compiler and run thread by thread on the CPU, against NumPy."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from cuda_check.build import CSRC, build_for_host, parse_ptxas
from cuda_check.cases import Case, make_cases
from cuda_check.device import CheckError, Device
from cuda_check.reference import philox

CASES = make_cases(large=False)
COMPILER = shutil.which("g++") or shutil.which("clang++")

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler (g++ or clang++)"),
    pytest.mark.xdist_group("csrc_host"),  # compiled once
]

PHILOX_SOURCE = """
#include "philox.h"
extern "C" void block(const uint32_t* counter, uint32_t key0, uint32_t key1, uint32_t* out) {
  const mae::PhiloxBlock result =
      mae::philox4x32_10({{counter[0], counter[1], counter[2], counter[3]}}, key0, key1);
  for (int w = 0; w < 4; ++w) out[w] = result.word[w];
}
extern "C" float one(uint64_t seed, uint32_t epoch, int64_t index, uint32_t patch) {
  return mae::masking_noise(seed, epoch, index, patch);
}
extern "C" void four(uint64_t seed, uint32_t epoch, int64_t index, uint32_t block, float* out) {
  mae::philox4(seed, epoch, index, block, out);
}
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    library = tmp_path_factory.mktemp("kernels") / "host.so"
    build_for_host(library)
    return Device(str(library))


@pytest.fixture(scope="module")
def philox_library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("philox")
    (folder / "philox.cc").write_text(PHILOX_SOURCE)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{CSRC}"]
    subprocess.run([COMPILER, *flags, str(folder / "philox.cc"), "-o", str(folder / "philox.so")], check=True)
    library = ctypes.CDLL(str(folder / "philox.so"))
    library.one.restype = ctypes.c_float
    library.one.argtypes = (ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint32)
    library.four.argtypes = (*library.one.argtypes, ctypes.c_void_p)
    return library


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernel_agrees_with_numpy(device: Device, case: Case):
    case.run(device)


@pytest.mark.parametrize("word", ["ranks", "image uint8", "loss of many"])
def test_threads_in_the_opposite_order_give_the_same(device: Device, monkeypatch: pytest.MonkeyPatch, word: str):
    monkeypatch.setenv("MAE_HOST_REVERSED", "1")
    cases = [case for case in CASES if case.name.startswith(word)]
    assert cases
    for case in cases:
        case.run(device)


# The words that the authors' Random123 library publishes as known answers.
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (0xFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ],
)
def test_philox_known_answers(philox_library: ctypes.CDLL, word: int, expected: tuple[int, ...]):
    counter, out = (ctypes.c_uint32 * 4)(*[word] * 4), (ctypes.c_uint32 * 4)()
    philox_library.block(counter, ctypes.c_uint32(word), ctypes.c_uint32(word), out)
    assert tuple(out) == expected


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("index", [0, 5, 2**40 + 3, -1])
@pytest.mark.parametrize("epoch", [0, 799, 2**32 - 1])
def test_noise_equals_the_python_definition(philox_library: ctypes.CDLL, seed: int, epoch: int, index: int):
    expected = philox.masking_noise(seed, epoch, [index], 10)[0]
    assert [philox_library.one(seed, epoch, index, patch) for patch in range(10)] == expected.tolist()
    blocks = np.empty((3, 4), np.float32)
    for block in range(3):
        philox_library.four(seed, epoch, index, block, blocks[block].ctypes.data)
    np.testing.assert_array_equal(blocks.reshape(-1)[:10], expected)


def test_a_stray_write_is_noticed(device: Device):
    buffer = device.put(np.zeros(3, np.float32), offset=4)
    ctypes.memset(buffer.pointer + 12, 0, 1)
    with pytest.raises(CheckError, match="outside its output"):
        buffer.read()


def test_the_report_of_ptxas_is_read():
    report = """ptxas info    : Compiling entry function '_ZN3mae10sum_kernelEPKflfPf' for 'sm_80'
ptxas info    : Function properties for _ZN3mae10sum_kernelEPKflfPf
    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 23 registers, 128 bytes smem, 384 bytes cmem[0]"""
    assert parse_ptxas(report) == [("sum_kernel", 23, 128, 12)]
