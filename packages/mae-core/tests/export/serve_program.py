"""Run an exported Paddle program as a server does: `serve_program.py FOLDER BATCHES`, Paddle alone.

Every `BATCHES/*.npz` is answered with a `.out.npz` of the same name."""

import sys
import zlib  # noqa: F401 - Paddle 2.6 brings symbols of its own, the standard library's must be loaded first
from pathlib import Path

import numpy as np
from paddle import inference

folder, batches = map(Path, sys.argv[1:])
(program,) = [path for path in folder.iterdir() if path.name in ("inference.json", "inference.pdmodel")]
predictor = inference.create_predictor(inference.Config(str(program), str(folder / "inference.pdiparams")))
for batch in sorted(batches.glob("*.npz")):
    for name, array in np.load(batch).items():
        predictor.get_input_handle(name).copy_from_cpu(array)
    predictor.run()
    results = [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
    np.savez(batch.with_suffix(".out.npz"), *results)
assert not any(name.startswith("mae_") for name in sys.modules)
