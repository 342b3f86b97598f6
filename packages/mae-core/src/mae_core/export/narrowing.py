"""An ONNX file in fewer bits: products of int8 by onnxruntime, or weights kept as bfloat16; and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.export import KINDS
from mae_core.export.agreement import SCORED, Agreement, IndexedImages, SpreadImages, measure_agreement
from mae_core.export.program import Signature, quiet
from mae_core.process.installation import pip_install

CALIBRATION = 64  # training images that give int8-static the ranges of what goes into products
_PRODUCTS = ["MatMul", "Gemm"]
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}  # what onnxruntime marks a folded graph with


@dataclass(frozen=True)
class Narrowing:
    """What is asked for.

    Args:
        kind: a name of `export.KINDS`: "int8" finds the ranges of activations with each batch, "int8-static" has them
            from `calibration`; "bfloat16" halves the file and computes in float32.
        min_agreement: the least agreement with float32, from 0 to 1.
        scored: images on which both are compared.
        calibration: of the training list; None for other kinds than "int8-static".
    """

    kind: str
    min_agreement: float
    scored: SpreadImages
    calibration: SpreadImages | None

    def describe(self) -> dict[str, object]:
        """Return what the description holds of it, beside what was measured."""
        images = self.calibration and {"list": self.calibration.name, "images": len(self.calibration)}
        return {"min_agreement": self.min_agreement, "calibration": images}


def narrowing_on(
    val_list: str,
    train_list: str,
    open_list: Callable[[str], IndexedImages],
    kind: str | None,
    min_agreement: float,
) -> Narrowing | None:
    """Open the lists that a kind needs; None where none is asked for."""
    if kind is None:
        return None
    calibration = SpreadImages(train_list, open_list(train_list), CALIBRATION) if kind == "int8-static" else None
    return Narrowing(kind, min_agreement, SpreadImages(val_list, open_list(val_list), SCORED), calibration)


def require_narrowing(kind: str, file_format: str) -> None:
    """Refuse a kind that is none, another format than ONNX, and int8 where a package is missing.

    Raises:
        UserError: with what to use, or to install.
    """
    if kind not in KINDS:
        raise UserError(f"narrow={kind!r} is not known; use {', '.join(KINDS)}")
    if file_format != "onnx":
        raise UserError(f"{kind} is for ONNX files: leave --format {file_format} out")
    if kind != "bfloat16":
        try:
            import onnxruntime.quantization  # noqa: F401 - it needs more than onnxruntime declares
        except ImportError as error:
            raise UserError(f"int8 needs {error.name}: {pip_install('mae-core', 'onnx')}") from None


def narrow_file(path: Path, signature: Signature, narrowing: Narrowing) -> Agreement:
    """Replace a float32 ONNX file by a narrower one and measure both.

    Raises:
        AgreementError: it agrees less than was asked for.
    """
    exact, folded = path.with_name("float32.onnx"), path.with_name("folded.onnx")
    path.rename(exact)
    with quiet():
        _fold(exact, folded)
        _WRITERS[narrowing.kind](folded, path, signature, narrowing.calibration)
    folded.unlink()
    agreement = measure_agreement(exact, path, signature, narrowing.kind, narrowing.scored)
    exact.unlink()
    agreement.require(narrowing.min_agreement)
    return agreement


def _fold(path: Path, folded: Path) -> None:
    """Compute what depends on no input: weights are to be constants that products take as they are."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model = onnx.load(folded)
    standard = [opset for opset in model.opset_import if not opset.domain]  # the others are onnxruntime's, unused
    del model.opset_import[:]
    model.opset_import.extend(standard)
    onnx.helper.set_model_props(model, _PREPARED)
    onnx.checker.check_model(model)
    onnx.save(model, folded)


def _write_dynamic(source: Path, path: Path, signature: Signature, calibration: SpreadImages | None) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, path, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=_PRODUCTS)


def _write_static(source: Path, path: Path, signature: Signature, calibration: SpreadImages | None) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    assert calibration
    batches = calibration.batches(signature.inputs)

    class Reader(CalibrationDataReader):
        """Hands one calibration image after the other on, with the drawn numbers of other inputs."""

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            for inputs, _ in batches:
                return {port.name: array for port, array in zip(signature.inputs, inputs, strict=True)}
            return None

    quantize_static(
        source,
        path,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=_PRODUCTS,
        # What comes out stays float32, as what follows computes in it: faster and closer than rounding it too.
        extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": _PRODUCTS},
    )


def _write_bfloat16(source: Path, path: Path, signature: Signature, calibration: SpreadImages | None) -> None:
    """Keep matrices as bfloat16, cast where they are used: onnxruntime has no CPU products of bfloat16."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model, casts = onnx.load(source), []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            name, values = tensor.name, numpy_helper.to_array(tensor)
            rounded = _as_bfloat16(values).tobytes()
            tensor.CopyFrom(helper.make_tensor(f"{name}.bf16", TensorProto.BFLOAT16, values.shape, rounded, raw=True))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _as_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round finite numbers to nearest, ties to even; the bits."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


_WRITERS = {"int8": _write_dynamic, "int8-static": _write_static, "bfloat16": _write_bfloat16}
