"""Time a pre-training step on 1 and 2 threads of one process, and on 2 ranks of a thread each.

    python packages/mae-core/benchmarks/scaling.py [--model digits|base] [--batch 64] [--steps 15] [--csv FILE]

Every way does the same work: the batch is that of all ranks together. They run one after the other, in processes of
their own; ranks are started by `paddle.distributed.launch` and talk through gloo.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "race"))
from cases import LEARNING_RATE, MODELS, make_images

WAYS = ((1, 1), (2, 1), (1, 2))  # threads of a rank, ranks


def work(model, batch, steps, output):
    """Do the steps as one rank; the main one writes the seconds of each to a file."""
    # isort: off
    import mae_core  # noqa: F401 - before Paddle: it prepares the CPU runtime
    import paddle

    # isort: on
    from mae_core.models import MaskedAutoencoderViT
    from mae_core.process import distributed
    from mae_core.training.optim import build_adamw

    distributed.init()
    paddle.seed(0)
    net = MaskedAutoencoderViT(**MODELS[model])
    wrapped, optimizer = distributed.wrap(net), build_adamw(net)
    optimizer.set_lr(LEARNING_RATE)
    images = paddle.to_tensor(make_images(model, batch // distributed.world_size())[0])
    seconds = []
    for _ in range(steps + 2):
        distributed.barrier()
        started = time.perf_counter()
        wrapped(images, return_pred=False)[0].backward()
        optimizer.step()
        optimizer.clear_grad()
        distributed.barrier()
        seconds.append(time.perf_counter() - started)
    if distributed.is_main():
        Path(output).write_text(json.dumps(seconds[2:]))  # the first two warm up


def run(args, threads, ranks, folder):
    """Run one way and return the seconds of its steps."""
    output = folder / f"{threads}-{ranks}.json"
    command = [sys.executable]
    if ranks > 1:
        command += ["-m", "paddle.distributed.launch", "--nproc_per_node", str(ranks), "--log_dir", str(folder / "log")]
    command += [__file__, "--model", args.model, "--batch", str(args.batch), "--steps", str(args.steps)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([*command, "--output", str(output)], env=env, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{ranks} ranks of {threads} threads failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(output.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="digits")
    parser.add_argument("--batch", type=int, default=64, help="of all ranks together")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.output:
        work(args.model, args.batch, args.steps, args.output)
        return
    print(f"{args.model}, batch {args.batch}, {args.steps} steps: milliseconds p20 / p50 / p80, speed-up of the median")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for threads, ranks in WAYS:
            low, middle, high = np.quantile(run(args, threads, ranks, Path(folder)), [0.2, 0.5, 0.8]) * 1e3
            speedup = rows[0][4] / middle if rows else 1.0
            rows.append([threads, ranks, args.batch, low, middle, high, speedup])
            figures = f"{low:9.1f} /{middle:9.1f} /{high:9.1f}{speedup:7.2f}"
            print(f"  {threads} threads x {ranks} ranks{figures}", flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows([["threads", "ranks", "batch", "p20", "p50", "p80", "speed-up"], *rows])


if __name__ == "__main__":
    main()
