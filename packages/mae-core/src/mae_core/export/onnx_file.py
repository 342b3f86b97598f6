"""A Paddle inference program as ONNX (extra `onnx`); nothing is ever installed or downloaded."""

from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

import paddle
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.export.ports import BATCH, Port
from mae_core.export.program import PARAMETERS, quiet
from mae_core.process.installation import pip_install

FILE = "model.onnx"
OPSET = 17  # the first with LayerNormalization
LIMIT = 2**31  # bytes of a protobuf message
_NEEDED = ("paddle2onnx", "onnx", "onnxruntime", "packaging")  # paddle2onnx imports the last and does not declare it
_PADDLE2 = "1.3.1"  # the last paddle2onnx that runs on Paddle 2


def require_onnx() -> None:
    """Refuse where a package is missing or made for another Paddle.

    Raises:
        UserError: with what to install.
    """
    missing = [name for name in _NEEDED if util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {', '.join(missing)}: {pip_install('mae-core', 'onnx')}")
    version, is_paddle2 = metadata.version("paddle2onnx"), paddle.__version__.startswith("2.")
    if version.startswith("1.") != is_paddle2:
        fitting = _PADDLE2 if is_paddle2 else "2.1.0"
        raise UserError(
            f"paddle2onnx {version} is not made for Paddle {paddle.__version__}: pip install paddle2onnx=={fitting}"
        )


def require_size(model: paddle.nn.Layer) -> None:
    """Refuse weights that one ONNX file cannot hold.

    Raises:
        UserError: 2 GiB or more.
    """
    size = 4 * sum(parameter.size for parameter in model.parameters())
    if size >= LIMIT:
        raise UserError(f"weights of {size / 1e9:.1f} GB do not fit an ONNX file (2 GiB); use --format paddle")


def write_onnx(program: Path, path: Path, outputs: Sequence[Port]) -> None:
    """Convert a program beside its parameters; outputs get the names of their ports."""
    import onnx
    from paddle2onnx import export

    with quiet():
        # Returned, not saved: on saving, paddle2onnx folds constants with a tool that runs pip.
        data = export(
            str(program),
            str(program.with_name(PARAMETERS)),
            save_file=None,
            opset_version=OPSET,
            auto_upgrade_opset=False,
        )
    model = onnx.load_model_from_string(data)
    _name_outputs(model.graph, [port.name for port in outputs])
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _name_outputs(graph: Any, names: Sequence[str]) -> None:
    renamed = {value.name: name for value, name in zip(graph.output, names, strict=True)}
    for value in graph.output:
        value.name = renamed[value.name]
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [renamed.get(name, name) for name in tensors]


class OnnxRunner:
    """An ONNX file on the CPU, on so many threads; 0: as many as there are cores."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors: its warnings are about constants it folds
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.output_names = [value.name for value in self._session.get_outputs()]

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the outputs of one batch."""
        names = [value.name for value in self._session.get_inputs()]
        return list(self._session.run(None, dict(zip(names, inputs, strict=True))))
