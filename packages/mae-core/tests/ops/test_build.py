"""The build of the fused operators: what MAE_CORE_BUILD_OPS asks for is what happens."""

import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2]


def build(folder, **env):
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(folder), "--build-temp", str(folder)]
    return subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False, env={**os.environ, **env})


def libraries(folder):
    return list(folder.rglob("*.so"))


NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}


def test_without_a_working_compiler_auto_goes_on_and_says_so(tmp_path):
    done = build(tmp_path, MAE_CORE_BUILD_OPS="auto", **NO_COMPILER)
    assert done.returncode == 0
    assert libraries(tmp_path) == []
    assert "mae-core: no fused operators, " in done.stderr
    assert "then: mae-core build" in done.stderr


def test_without_a_working_compiler_a_demanded_build_fails(tmp_path):
    done = build(tmp_path, MAE_CORE_BUILD_OPS="1", **NO_COMPILER)
    assert done.returncode != 0
    assert "MAE_CORE_BUILD_OPS=1, but " in done.stderr
    assert libraries(tmp_path) == []


def test_no_build_is_tried_where_none_is_wanted(tmp_path):
    done = build(tmp_path, MAE_CORE_BUILD_OPS="0", **NO_COMPILER)
    assert done.returncode == 0
    assert "failed" not in done.stdout + done.stderr


def test_another_wish_is_refused(tmp_path):
    done = build(tmp_path, MAE_CORE_BUILD_OPS="yes")
    assert done.returncode != 0
    assert "MAE_CORE_BUILD_OPS=yes; use one of auto, 0, 1" in done.stderr


def test_a_demanded_build_fails_without_paddle(tmp_path):
    done = build(tmp_path, MAE_CORE_BUILD_OPS="1", MAE_CORE_BUILD_FOR=str(tmp_path))
    assert done.returncode != 0
    assert f"{tmp_path}/paddle holds no PaddlePaddle" in done.stderr
