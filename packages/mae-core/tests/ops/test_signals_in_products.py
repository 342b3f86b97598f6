"""Signals that come while products are computed change nothing: handlers run on a stack of their own."""

import subprocess
import sys

import pytest

from mae_core.ops import fused

STEPS = """
import signal, sys
import numpy as np
import mae_core, paddle
paddle.seed(0)
model = mae_core.build_model("mae_vit_tiny_patch16", img_size=64, patch_size=8, depth=2, decoder_depth=2)
images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8))
came = []
signal.signal(signal.SIGALRM, lambda number, frame: came.append(1))
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]), float(sys.argv[1]))
for step in range(4):
    loss, _, _ = model(images, noise=mae_core.MaskKey(0, step, paddle.arange(8)), return_pred=False)
    loss.backward()
signal.setitimer(signal.ITIMER_REAL, 0)
norms = [float((p.grad.astype("float64") ** 2).sum()) for p in model.parameters() if not p.stop_gradient]
print(len(came) > 50, float(loss), sum(norms))
"""


def steps(seconds):
    """Run 4 steps with a signal each so many seconds, 0 for none."""
    command = [sys.executable, "-c", STEPS, str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()


@pytest.mark.skipif(not fused.gemm_library(), reason=f"no fused operators or no matrix products: {fused.why_not()}")
def test_hundreds_of_signals_change_no_number():
    quiet, disturbed = steps(0), steps(0.0005)
    assert (quiet[0], disturbed[0]) == ("False", "True")
    assert disturbed[1:] == quiet[1:]
