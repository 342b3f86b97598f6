"""Builds the compiled part next to the Python package, where there is a C compiler.

MAE_DATA_BUILD=auto (default) goes without it where that fails: Pillow then does the same, slower; 1 fails; 0 does not
try. Python is not part of it (ctypes loads it), nor is a JPEG library: it finds the one of the Pillow that runs.
"""

import os
import sys

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

WISHES = ("auto", "0", "1")
SOURCES = ["csrc/axis.c", "csrc/resample.c", "csrc/resize.c", "csrc/jpeg_crop.c"]
HEADERS = ["csrc/pixels.h", *(f"csrc/libjpeg/{name}.h" for name in ("jconfig", "jmorecfg", "jpeglib"))]
# Contracted multiplications and additions would round the weights otherwise than Pillow does.
FLAGS = ["-std=gnu11", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]


class BuildPixels(build_ext):
    """Names the library without the version of Python, which it does not depend on."""

    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split(".")) + ".so"


class ForAnyPython(bdist_wheel):
    """Tags a wheel that holds the library with the machine alone."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


def main():
    """Set the package up, with the compiled part where that is wanted and possible."""
    wish = os.environ.get("MAE_DATA_BUILD", "auto")
    if wish not in WISHES:
        raise SystemExit(f"MAE_DATA_BUILD={wish}; use one of {', '.join(WISHES)}")
    extension = Extension(
        "mae_data._pixels",
        SOURCES,
        depends=HEADERS,
        extra_compile_args=FLAGS,
        libraries=["dl"] if sys.platform == "linux" else [],
        optional=wish == "auto",
    )
    # Pillow's Windows wheels keep their JPEG library to themselves.
    extensions = [extension] if wish != "0" and sys.platform != "win32" else []
    setup(ext_modules=extensions, cmdclass={"build_ext": BuildPixels, "bdist_wheel": ForAnyPython})


main()
