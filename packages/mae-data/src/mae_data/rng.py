"""Random numbers as pure functions: a stream of its own for each (seed, use, epoch, sample)."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Philox key words after the seed: streams for different uses never meet.
AUGMENTATION_STREAM = 1
ORDER_STREAM = 2
MIXING_STREAM = 3


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Make the generator that augments sample `index` in `epoch`.

    It depends on nothing else: not on the worker, the rank or the numbers of other samples.

    Args:
        seed: seed of the run, 0 to 2**64 - 1.
        epoch: epoch number, from 0.
        index: position of the sample in its list.
    """
    return np.random.Generator(philox(seed, AUGMENTATION_STREAM, epoch, index))


def philox(seed: int, stream: int, epoch: int, index: int = 0) -> np.random.Philox:
    """Make the counter-based bit generator of one (seed, stream, epoch, index)."""
    key = np.array([seed, stream], dtype=np.uint64)
    # Drawing counts up the first word; the others keep the streams of all samples apart.
    counter = np.array([0, 0, epoch, index], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter)


# Other distributions are made from uniform numbers: NumPy promises the same values in every release for `rng.random`
# alone, and a run that is resumed with another release would go on with other augmentations.
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
