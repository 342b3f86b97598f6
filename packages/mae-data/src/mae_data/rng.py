"""Random numbers as pure functions: a stream for each (seed, use, epoch, sample), however many are drawn elsewhere."""

import numpy as np

# Philox key words after the seed: streams for different uses never meet.
AUGMENTATION_STREAM = 1
ORDER_STREAM = 2
MIXING_STREAM = 3


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Make the generator that augments sample `index` in `epoch`.

    It depends on nothing else: not on the worker, the rank or what was drawn before.

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
