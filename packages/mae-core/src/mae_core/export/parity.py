"""The check that an exported model computes what the model computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import paddle
from numpy.typing import NDArray

from mae_core.errors import CheckpointError, UserError
from mae_core.export.ports import random_batch
from mae_core.export.program import Signature

LIMIT = 1.0e-5  # of the largest number of an output
BATCHES = (1, 3)  # a graph that holds on to one batch size fails the other


class ParityError(UserError):
    """The exported model differs from the model; nothing was kept. A fault of ours."""

    exit_code = 1


class Runner(Protocol):
    """An engine with a model in it."""

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]: ...


@dataclass(frozen=True)
class Parity:
    """Largest difference to the model: as a number, and as a share of the largest number of that output."""

    absolute: float
    relative: float

    def line(self) -> str:
        """Return the difference as one line for people."""
        batches = " and ".join(map(str, BATCHES))
        return (
            f"largest difference to the model {self.absolute:.1e}, {self.relative:.1e} of the largest output"
            f" (limit {LIMIT:.0e}; random batches of {batches})"
        )


def measure_parity(runner: Runner, signature: Signature) -> Parity:
    """Compare what the model and the engine compute on random batches.

    Args:
        signature: of the model in eager mode, ready to evaluate.

    Raises:
        CheckpointError: the model itself gives NaN or infinity.
        ParityError: the two differ by more than LIMIT.
    """
    absolute = relative = 0.0
    for rows in BATCHES:
        batch = random_batch(signature.inputs, rows)
        with paddle.no_grad():
            expected = [tensor.numpy() for tensor in signature.function(*map(paddle.to_tensor, batch))]
        if not all(np.isfinite(array).all() for array in expected):
            raise CheckpointError("the model gives NaN or infinity with these weights; nothing was exported")
        for ours, theirs in zip(expected, runner.run(batch), strict=True):
            if ours.shape != theirs.shape:
                raise ParityError(f"the exported model gives shape {theirs.shape}, the model {ours.shape}")
            difference = float(np.abs(ours.astype(np.float64) - theirs).max())
            absolute = max(absolute, difference)
            largest = float(np.abs(ours).max())
            relative = max(relative, difference / largest if largest else difference)
    parity = Parity(absolute, relative)
    if not relative <= LIMIT:  # NaN is no parity either
        raise ParityError(f"{parity.line()}: nothing was exported")
    return parity
