"""Models as folders that a server runs without this package: Paddle inference or ONNX.

Reading order: `ports` (what goes in and out), `program` (Paddle), `onnx_file`, `parity` (the check before a folder is
kept), `model_folder` (all of it, atomically).
"""

FORMATS = ("paddle", "onnx")
