"""`mae-core build`: where it compiles to, what it says, and which of a user's libraries are loaded."""

import os
import sys
from pathlib import Path

import pytest

from mae_core import cli
from mae_core.libraries import build_command as build_module
from mae_core.libraries import compilation, library_files
from mae_core.ops import fused

NAME = fused.own_library_name()
LIBRARY = library_files.PACKAGED / NAME
built = pytest.mark.skipif(not LIBRARY.is_file(), reason="no operators are built here")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache folder of a user who may not write into the package."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(library_files, "PACKAGED", tmp_path / "package")
    monkeypatch.setattr(build_module, "PACKAGED", tmp_path / "package")  # is not there: cannot be written
    return tmp_path / "mae-core" / library_files.__version__


def fake_compiler(folder, monkeypatch, makes):
    """Name a compiler that makes a copy of a file out of anything, so that no test waits; return its log."""
    program = folder / "g++"
    program.write_text(
        f"""#!{sys.executable}
import shutil, sys
arguments = sys.argv[1:]
open({str(folder / "commands")!r}, "a").write(" ".join(arguments) + chr(10))
shutil.copy({str(makes)!r}, arguments[arguments.index("-o") + 1])
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    return folder / "commands"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A compiler that makes the library which is there already."""
    return fake_compiler(tmp_path, monkeypatch, LIBRARY)


def failure(capsys, *arguments):
    assert cli.main(["build", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


@built
def test_a_build_lands_in_the_cache_where_the_package_cannot_be_written_and_is_used(cache, compiler, capfd):
    cache.mkdir(parents=True)
    cache.parent.chmod(0o777)  # as something careless has left it
    assert cli.main(["build"]) == 0
    said = capfd.readouterr().out
    assert f"cannot be written: building into {cache}" in said
    assert f"built {cache / NAME} in " in said
    assert f"operators: fused ({NAME})" in said
    assert library_files.find(*fused._paddle()) == cache / NAME
    assert [path.stat().st_mode & 0o777 for path in (cache.parent, cache, cache / NAME)] == [0o700, 0o700, 0o755]
    assert [path.name for path in cache.iterdir()] == [NAME]
    compiled = [Path(word).name for word in compiler.read_text().split() if word.endswith(".cc")]
    assert sorted(compiled) == sorted(path.name for path in build_module._sources().glob("*.cc"))


@built
def test_a_build_replaces_the_packages_library_where_it_can(tmp_path, cache, compiler, capfd):
    build_module.PACKAGED.mkdir()
    assert cli.main(["build"]) == 0
    assert library_files.find(*fused._paddle()) == build_module.PACKAGED / NAME
    assert not cache.exists()


@pytest.mark.parametrize("spoil", ["file", "folder", "parent", "link", "owner"])
def test_a_library_in_the_cache_that_others_can_change_is_not_loaded(cache, monkeypatch, spoil):
    cache.mkdir(parents=True, mode=0o700)
    library = cache / NAME
    library.write_bytes(b"")
    library.chmod(0o755)
    assert library_files.find(*fused._paddle()) == library
    if spoil == "link":
        library.rename(cache / "elsewhere")
        library.symlink_to(cache / "elsewhere")
    elif spoil == "owner":
        monkeypatch.setattr(os, "geteuid", lambda: library.stat().st_uid + 1)
    else:
        {"file": library, "folder": cache, "parent": cache.parent}[spoil].chmod(0o777)
    assert library_files.find(*fused._paddle()) is None
    monkeypatch.setattr(fused, "LOAD_ERROR", "")
    assert f"{NAME} is not loaded: " in fused.why_not()


def test_what_was_built_and_does_not_load_is_an_error(cache, tmp_path, monkeypatch, capsys):
    fake_compiler(tmp_path, monkeypatch, sys.executable)
    assert f"it was built, but is not used: operators: reference ({NAME} could not be loaded" in failure(capsys)


def test_without_a_compiler_it_says_what_to_install(cache, monkeypatch, capsys):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no C++ compiler; install g++" in failure(capsys)


def test_a_compiler_that_fails_is_quoted(cache, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "/bin/false")
    assert "exit code 1 (from: /bin/false -std=c++17" in failure(capsys)
    monkeypatch.setenv("CXX", "/nowhere/g++")
    assert "/nowhere/g++ cannot be run" in failure(capsys)


def test_without_sources_it_says_so(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_module, "_sources", lambda: tmp_path)
    assert f"the sources of the operators are not in {tmp_path}" in failure(capsys)


def test_cuda_kernels_need_the_gpu_distribution(cache, capsys):
    if fused.paddle.is_compiled_with_cuda():
        pytest.skip("this is the GPU distribution")
    assert "is the CPU distribution; install paddlepaddle-gpu" in failure(capsys, "--cuda")


def test_without_any_place_it_says_so(cache, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "can be written" in failure(capsys)


def test_without_paddle_it_says_what_to_install(cache, monkeypatch, capsys):
    monkeypatch.setattr("mae_core.process.runtime.util.find_spec", lambda name: None)
    assert cli.main(["build"]) == 2
    assert capsys.readouterr().err.startswith("error: PaddlePaddle is not installed")


@pytest.mark.parametrize(
    ("version", "cuda", "name"),
    [
        ("3.3.1", "", "_C-paddle3.3-cpu.so"),
        ("2.6.2", "11.8", "_C-paddle2.6-cuda11.8.so"),
        ("3.10.0", "", "_C-paddle3.10-cpu.so"),
    ],
)
def test_a_library_is_named_after_the_minor_version(version, cuda, name):
    assert compilation.library_name(version, cuda) == name


def test_a_gpu_distribution_is_compiled_with_cuda(tmp_path, monkeypatch):
    folder = tmp_path / "paddle"
    (folder / "version").mkdir(parents=True)
    (folder / "version" / "__init__.py").write_text("full_version = '3.3.1'\ncuda_version     = '12.6'\n")
    with pytest.raises(compilation.BuildError, match="has no headers"):
        compilation.read_paddle(folder)
    (folder / "include" / "paddle").mkdir(parents=True)
    (folder / "include" / "paddle" / "extension.h").write_text("")
    paddle = compilation.read_paddle(folder)
    assert (paddle.version, paddle.cuda) == ("3.3.1", "12.6")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(compilation.BuildError, match="no nvcc in"):
        compilation._compile_cuda(Path("launchers.cu"), Path("launchers.o"))
    (tmp_path / "nvcc").write_text("")
    (tmp_path / "nvcc").chmod(0o755)
    monkeypatch.setenv("MAE_CORE_CUDA_ARCHS", "80 90")
    command = compilation._compile_cuda(Path("launchers.cu"), Path("launchers.o"))
    assert [word for word in command if "gencode" in word] == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]
    assert "-DMAE_WITH_CUDA=1" in compilation._headers(paddle)
