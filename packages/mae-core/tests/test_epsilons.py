"""The kernels and the Python code add the same epsilon."""

import re

import numpy as np

from cuda_check.build import CSRC
from mae_core.epsilons import NORM_PIX_EPS


def test_the_kernels_add_the_same_epsilon_and_it_stands_once():
    sources = [path.read_text() for path in sorted(CSRC.iterdir()) if path.suffix in (".h", ".cc", ".cu", ".cuh")]
    found = [value for text in sources for value in re.findall(r"kNormPixEpsilon\s*=\s*([0-9.e-]+)f?;", text)]
    assert len(found) == 1
    assert np.float32(found[0]) == np.float32(NORM_PIX_EPS)
