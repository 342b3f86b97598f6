"""A model as a Paddle inference program, and running one with Paddle's inference engine alone."""

import ctypes
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import paddle
from numpy.typing import NDArray
from paddle import Tensor, inference, nn
from paddle.static import InputSpec

from mae_core.export.ports import Port

Function: TypeAlias = Callable[..., tuple[Tensor, ...]]
STEM = "inference"
PARAMETERS = f"{STEM}.pdiparams"
PROGRAMS = (f"{STEM}.json", f"{STEM}.pdmodel")  # of Paddle 3 and of Paddle 2


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what compiled code prints to itself; where the block fails, it is shown on standard error."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = {number: os.dup(number) for number in (1, 2)}
    with tempfile.TemporaryFile() as kept:
        for number in saved:
            os.dup2(kept.fileno(), number)
        failed = True
        try:
            yield
            failed = False
        finally:
            ctypes.CDLL(None).fflush(None)  # what it still holds back
            for number, stream in saved.items():
                os.dup2(stream, number)
                os.close(stream)
            if failed:
                kept.seek(0)
                os.write(2, kept.read())


class Signature(NamedTuple):
    """What a model is to compute: from tensors in the order of `inputs` (`images`, then `noise`) those of `outputs`."""

    function: Function
    inputs: Sequence[Port]
    outputs: Sequence[Port]


class _Graph(nn.Layer):
    """One function of a model, as Paddle saves it."""

    def __init__(self, model: nn.Layer, function: Function) -> None:
        super().__init__()
        self.model = model
        self.function = function

    # Traced as it is: Paddle's rewriting of source code confuses methods with functions of the same name.
    @paddle.jit.not_to_static
    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.function(images) if noise is None else self.function(images, noise)


def save_program(folder: Path, model: nn.Layer, signature: Signature) -> Path:
    """Write the program of a model and its parameters, the batch size left free; returns the program's file."""
    spec = [InputSpec([None, *port.shape], port.dtype, port.name) for port in signature.inputs]
    graph = _Graph(model, signature.function)
    graph.eval()
    with _reference_operations(), warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # of Paddle's to itself
        paddle.jit.save(graph, str(folder / STEM), input_spec=spec)
    return find_program(folder)


@contextmanager
def _reference_operations() -> Iterator[None]:
    """Keep the fused operators out of a graph: no server has them."""
    before = os.environ.get("MAE_CORE_OPS")
    os.environ["MAE_CORE_OPS"] = "reference"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MAE_CORE_OPS"]
        else:
            os.environ["MAE_CORE_OPS"] = before


def find_program(folder: Path) -> Path:
    """Return the program's file, which is named after the Paddle that wrote it."""
    return next(folder / name for name in PROGRAMS if (folder / name).is_file())


class ProgramRunner:
    """A saved program on the CPU."""

    def __init__(self, folder: Path) -> None:
        config = inference.Config(str(find_program(folder)), str(folder / PARAMETERS))
        config.disable_gpu()
        config.disable_glog_info()
        with quiet():
            self._predictor = inference.create_predictor(config)
        self.output_names = list(self._predictor.get_output_names())

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the outputs of one batch."""
        for name, array in zip(self._predictor.get_input_names(), inputs, strict=True):
            self._predictor.get_input_handle(name).copy_from_cpu(array)
        with quiet():
            self._predictor.run()
        return [self._predictor.get_output_handle(name).copy_to_cpu() for name in self.output_names]
