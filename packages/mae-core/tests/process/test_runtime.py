"""The CPU runtime: what is chosen, and that the user's choice stands."""

import os
import subprocess
import sys

import pytest

from mae_core.process import runtime
from mae_core.process.installation import pip_install

AMD = "vendor_id : AuthenticAMD flags : fpu sse4_2 avx avx2 bmi2 "
INTEL = "vendor_id : GenuineIntel flags : fpu sse4_2 avx avx2 bmi2 "


def test_amd_gets_the_fast_path_and_intel_is_left_alone():
    chosen = runtime.choose({}, cores=6, cpuinfo=AMD, gpu=False)
    assert chosen == {
        "OMP_NUM_THREADS": "6", "KMP_BLOCKTIME": "1", "MKL_DEBUG_CPU_TYPE": "5", "FLAGS_use_stride_kernel": "0",
    }  # fmt: skip
    assert "MKL_DEBUG_CPU_TYPE" not in runtime.choose({}, 6, INTEL, gpu=False)
    assert "MKL_DEBUG_CPU_TYPE" not in runtime.choose({}, 6, AMD.replace("avx2", ""), gpu=False)
    assert "FLAGS_use_stride_kernel" not in runtime.choose({}, 6, AMD, gpu=True)


def test_what_the_user_set_is_never_overridden():
    mine = {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "active",
        "MKL_DEBUG_CPU_TYPE": "",
        "FLAGS_use_stride_kernel": "1",
    }
    assert runtime.choose(mine, 6, AMD, gpu=False) == {}
    assert "KMP_BLOCKTIME" not in runtime.choose({"KMP_BLOCKTIME": "0"}, 6, AMD, gpu=False)


def test_ranks_of_one_node_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert runtime.available_cores({}) == 8
    assert runtime.available_cores({"PADDLE_LOCAL_SIZE": "4"}) == 2
    assert runtime.available_cores({"PADDLE_LOCAL_SIZE": "32"}) == 1


def python(code, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "FLAGS_use_stride_kernel")}
    return subprocess.run([sys.executable, "-c", code], env={**clean, **env}, capture_output=True, text=True)


def test_import_sets_the_variables_before_paddle_and_does_not_import_paddle():
    code = "import mae_core, os, sys; print('paddle' in sys.modules, os.environ['OMP_NUM_THREADS'])"
    assert python(code).stdout.split() == ["False", str(runtime.available_cores())]
    assert python(code, OMP_NUM_THREADS="1").stdout.split() == ["False", "1"]


def test_without_paddle_a_name_that_needs_it_says_what_to_install():
    code = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'paddle' else find(name, *a);"
        "import mae_core; mae_core.build_model"
    )
    result = python(code)
    assert result.returncode == 1
    for extra in ("cpu", "gpu"):
        assert pip_install("mae-core", extra) in result.stderr


@pytest.mark.parametrize("imported_first", [True, False])
def test_the_choice_is_logged(imported_first):
    first = "import paddle;" if imported_first else ""
    code = f"{first}import mae_core; print(mae_core.process.runtime.chosen_settings())"
    out = python(code, OMP_NUM_THREADS="1").stdout
    assert "OMP_NUM_THREADS=1 (yours)" in out
    assert ("FLAGS_use_stride_kernel=0 (chosen)" in out) is not imported_first


COUNT_FAULTS = """
import mae_core, resource
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for i in range(6):
    before = faults()
    bytearray(48 << 20)
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_memory_is_kept_unless_the_user_handles_it():
    assert int(python(COUNT_FAULTS).stdout) < 1000  # of 12,288 pages
    assert int(python(COUNT_FAULTS, MALLOC_MMAP_THRESHOLD_="1000000").stdout) > 10_000
    assert not runtime.keep_freed_memory({"LD_PRELOAD": "libjemalloc.so"})


@pytest.mark.parametrize("module", ["mae_core.ops", "mae_core.models"])
def test_a_library_user_is_not_told_about_thread_counts(module):
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], env=env, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
