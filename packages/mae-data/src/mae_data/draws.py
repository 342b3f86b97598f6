"""Random numbers of other distributions made from uniform ones.

NumPy promises the same values in every release for `rng.random` alone; a run that is resumed with
another release would otherwise go on with other augmentations.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def standard_normal(u: Any, v: Any) -> Floats:
    """Turn two uniform numbers in [0, 1) each into one normally distributed (Box and Muller)."""
    return np.sqrt(-2 * np.log1p(-np.asarray(u))) * np.cos(2 * np.pi * np.asarray(v))


def symmetric_beta(u: Any, v: Any, alpha: Any) -> Floats:
    """Turn two uniform numbers in [0, 1) each into one of Beta(alpha, alpha).

    Bailey's polar method gives a Student t of 2 alpha degrees of freedom, which maps onto the symmetric
    beta (Devroye 1996, "Random variate generation in one line of code"); exact, without rejection.
    """
    with np.errstate(over="ignore"):  # an infinite radius is right for a tiny alpha: the result is 0 or 1
        radius = np.sqrt((1 - np.asarray(u)) ** (-1 / np.asarray(alpha)) - 1)
    return 0.5 + 0.5 * np.sin(np.arctan(radius * np.cos(2 * np.pi * np.asarray(v))))
