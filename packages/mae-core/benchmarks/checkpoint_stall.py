"""Measure how long a checkpoint holds up pre-training, and what writing it behind the run costs the steps meanwhile.

`before` is how version 0.1.0 saved: the loop waited while the library wrote, files were read again for their
checksums, and fsynced. `after` copies to memory; a thread writes. They take turns. A share is of the
median step; a GPU's steps are shorter, its copy goes over the bus.

    python packages/mae-core/benchmarks/checkpoint_stall.py [--model base|large] [--batch 8] [--turns 3] [--folder .]
"""

import argparse
import os
import resource
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

# isort: off
import mae_core  # before Paddle: it prepares the CPU runtime
import paddle

# isort: on
from safetensors.numpy import save_file

from mae_core.files import fsync_path, publish_folder, sha256
from mae_core.ops import MaskKey
from mae_core.training.checkpoints.checkpoint import take_snapshot, write_snapshot
from mae_core.training.checkpoints.writer import CheckpointWriter
from mae_core.training.optim import build_adamw
from mae_core.weights.checkpoint_state import State


def make_step(model, optimizer, batch):
    shape = (batch, *model.img_size, model.in_chans)
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))

    def step():
        model(images, noise=MaskKey(0, 0, paddle.arange(batch)), return_pred=False)[0].backward()
        optimizer.step()
        optimizer.clear_grad()

    return lambda: seconds(step)


def save_before(folder, snapshot):
    """Write as version 0.1.0 did."""
    with publish_folder(folder / "before") as temporary:
        for name, arrays in snapshot.arrays.items():
            save_file(arrays, temporary / name, metadata=snapshot.header)
        sums = {path.name: sha256(path) for path in temporary.iterdir()}
        (temporary / "state.json").write_text(str(sums))
    fsync_path(folder)


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def turn(step, snap, writer, folder):
    """Save once each way; return the stalls, the time of writing, and the steps without and beside it."""
    quiet = step()
    before = seconds(lambda: save_before(folder, snap()))
    shutil.rmtree(folder / "before")
    written = []

    def write(snapshot):
        written.append(seconds(lambda: write_snapshot(folder, snapshot)))

    after, beside = seconds(lambda: writer.start(partial(write, snap()))), []
    while writer.busy:
        beside.append(step())
    writer.wait()
    shutil.rmtree(next(folder.glob("step_*")))
    return before, after, *written, quiet, np.mean(beside)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("tiny", "base", "large"), default="base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("."), help="on the disk to measure")
    args = parser.parse_args()
    model = mae_core.build_model(f"mae_vit_{args.model}_patch16")
    optimizer = build_adamw(model)
    optimizer.set_lr(1e-4)
    step = make_step(model, optimizer, args.batch)
    step(), step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    snap = partial(take_snapshot, model, optimizer, State(1))
    size = sum(array.nbytes for arrays in snap().arrays.values() for array in arrays.values())
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        writer = CheckpointWriter()
        figures = [turn(step, snap, writer, Path(folder)) for _ in range(args.turns)]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    columns = ("before s", "after s", "writing s", "step s", "step beside s")
    print(f"ViT {args.model}, batch {args.batch}, {size / 2**20:.0f} MiB a checkpoint, {os.cpu_count()} cores")
    print(f"{'':8}" + "".join(f"{name:>15}" for name in columns))
    for name, row in (("median", np.median(figures, 0)), ("least", np.min(figures, 0))):
        print(f"{name:8}" + "".join(f"{value:15.3f}" for value in row))
    before, after, _, quiet, _ = np.median(figures, 0)
    print(
        f"stall in steps: {before / quiet:.2f} before, {after / quiet:.3f} after; peak memory +{grown / 2**10:.0f} MiB"
    )


if __name__ == "__main__":
    main()
