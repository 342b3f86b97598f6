"""Models as folders that a server runs without this package: Paddle inference or ONNX.

Reading order: `ports` (what goes in and out), `program` (Paddle), `onnx_file`, `parity` (the check before a folder is
kept), `narrowing` (int8, bfloat16) and `agreement` (what they cost), `model_folder` (all of it, atomically).
"""

FORMATS = ("paddle", "onnx")
KINDS = ("int8", "int8-static", "bfloat16")  # of narrower ONNX files
MIN_AGREEMENT = 0.98  # of a narrower file with float32, where nobody asks for more or less


def format_for(file_format: str | None, narrow: str | None) -> str:
    """Return the format that is asked for, or that the kind of narrower file needs, or the first."""
    return file_format or ("onnx" if narrow else FORMATS[0])
