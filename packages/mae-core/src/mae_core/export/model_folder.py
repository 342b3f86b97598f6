"""The folder of an exported model: the files of one engine and `export.json`; whole or not there."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

import mae_core
from mae_core.errors import UserError
from mae_core.export import onnx_file, program
from mae_core.export.agreement import Agreement
from mae_core.export.narrowing import Narrowing, narrow_file, require_narrowing
from mae_core.export.parity import BATCHES, LIMIT, Parity, measure_parity
from mae_core.files import ascii_name, publish_folder
from mae_core.weights.sources import Weights

DESCRIPTION = "export.json"
_COPIES = {"paddle": 1, "onnx": 2}  # of float32's weights that lie in the folder at a time
_NARROWING = 2  # more of them
_PROGRAM_SIZE = 2**23  # bytes, more than any program without its weights
_OURS = {DESCRIPTION, onnx_file.FILE, program.PARAMETERS, f"{program.PARAMETERS}.info", *program.PROGRAMS}


@dataclass(frozen=True)
class Measured:
    """What was found of an exported model: beside the model, and of a narrower one beside float32's."""

    parity: Parity
    agreement: Agreement | None

    def lines(self) -> list[str]:
        """Return it as a line for people."""
        if self.agreement is None:
            return [self.parity.line()]
        return [f"float32 graph: {self.parity.line()}", self.agreement.line()]


def check_export(folder: Path, file_format: str, narrow: str | None = None) -> None:
    """Refuse, before the work, a folder that is not ours to replace and a format that cannot be written.

    Args:
        narrow: a name of `export.KINDS`; None: float32.

    Raises:
        UserError: with what to do.
    """
    if folder.suffix == ".onnx":
        raise UserError(f"-output {folder} is the folder to write, model and description; leave the suffix out")
    if folder.is_dir() and (other := {path.name for path in folder.iterdir()} - _OURS):
        raise UserError(f"-output {folder} holds other files ({min(other)}); name a new folder or an earlier export")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"-output {folder} is a file; name a folder")
    if file_format == "onnx":
        onnx_file.require_onnx()
    if narrow:
        require_narrowing(narrow, file_format)


def export_model(
    folder: Path,
    file_format: str,
    model: nn.Layer,
    signature: program.Signature,
    facts: Mapping[str, object],
    weights: Weights,
    narrowing: Narrowing | None = None,
) -> Measured:
    """Write one function of a model and keep it only if it computes what the model computes.

    Args:
        folder: to write, or to replace where it is an earlier export.
        file_format: a name of `export.FORMATS`.
        model: on the CPU.
        facts: what the description holds beyond inputs, outputs and versions.
        weights: those of the model; the description names their file and its SHA-256.
        narrowing: to be kept in fewer bits, of an ONNX file; None: float32.

    Raises:
        UserError: see `check_export`; or the disk refused.
        AgreementError: the narrower model agrees too little; nothing is kept.
        ParityError: the exported model differs; nothing is kept.
    """
    check_export(folder, file_format, narrowing.kind if narrowing else None)
    if file_format == "onnx":
        onnx_file.require_size(model)
    model.eval()
    final = folder.resolve()
    try:
        with publish_folder(final) as temporary:
            _require_space(temporary, model, _COPIES[file_format] + (_NARROWING if narrowing else 0))
            with ascii_name(temporary) as written:
                measured = _write_checked(written, file_format, model, signature, facts, weights, narrowing)
    except OSError as error:
        raise UserError(f"-output {final} could not be written: {error}") from None
    return measured


def _write_checked(
    folder: Path,
    file_format: str,
    model: nn.Layer,
    signature: program.Signature,
    facts: Mapping[str, object],
    weights: Weights,
    narrowing: Narrowing | None,
) -> Measured:
    """Write model and description into an empty folder; raise where the written model computes something else."""
    runner = _write(folder, file_format, model, signature)
    parity = measure_parity(runner, signature)
    agreement = narrow_file(folder / onnx_file.FILE, signature, narrowing) if narrowing else None
    named = [None] * len(signature.outputs) if file_format == "onnx" else runner.output_names
    versions = {"mae-core": mae_core.__version__, "paddle": paddle.__version__}
    if file_format == "onnx":
        versions["onnxruntime"] = metadata.version("onnxruntime")
    description = {
        "format": file_format,
        "files": sorted(path.name for path in folder.iterdir()),
        "inputs": [port.describe() for port in signature.inputs],
        "outputs": [port.describe(name) for port, name in zip(signature.outputs, named, strict=True)],
        **facts,
        "source": {"file": str(weights.file), "sha256": weights.fingerprint()},
        "float32_parity" if agreement else "parity": {
            "absolute": parity.absolute,
            "relative": parity.relative,
            "limit": LIMIT,
            "batches": BATCHES,
        },
        **({"narrowed": agreement.describe() | narrowing.describe()} if agreement and narrowing else {}),
        "versions": versions,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    return Measured(parity, agreement)


def _require_space(folder: Path, model: nn.Layer, copies: int) -> None:
    """Refuse a disk that is too small: Paddle's compiled code does not notice that it fills up."""
    needed = copies * 4 * sum(parameter.size for parameter in model.parameters()) + _PROGRAM_SIZE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder.parent} has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed; write to another disk"
        )


def _write(folder: Path, file_format: str, model: nn.Layer, signature: program.Signature) -> Any:
    """Write the files of one engine and return it with the model in it."""
    file = program.save_program(folder, model, signature)
    if file_format == "paddle":
        return program.ProgramRunner(folder)
    onnx_file.write_onnx(file, folder / onnx_file.FILE, signature.outputs)
    for path in folder.iterdir():
        if path.name != onnx_file.FILE:
            path.unlink()
    return onnx_file.OnnxRunner(folder / onnx_file.FILE)
