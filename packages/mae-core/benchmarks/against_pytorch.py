"""Race this package against the official formulation in PyTorch, in processes of their own, turn by turn.

    python packages/mae-core/benchmarks/against_pytorch.py [--case "base pretrain 8"] [--rounds 15] [--csv FILE]

Needs the extra `interop` (PyTorch). A case is model, task and batch: base or digits; pretrain (uint8 images in,
AdamW done), finetune (no augmentation) or features (`forward_features`, no gradients). Contestants: `torch` writes
attention out as the official code does, `torch-sdpa` uses PyTorch's fused attention, `torch-compile` compiles that,
`torch-bf16` is `torch-sdpa` in `torch.autocast("cpu", torch.bfloat16)`; `paddle` is this package, `paddle-bf16` the
same with -amp, `paddle-reference` without its operators, `paddle-cross` has a cross-attention decoder (12 blocks for
base) that predicts a quarter of the patches. Ratios are medians over turns of the time of a contestant
through that of `paddle`, or of another one (`--ours`): above 1, that is faster. Memory is the peak of the process.
"""

import argparse
import csv
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "race"
sys.path.insert(0, str(FOLDER))
from cases import CASES, MODELS, TASKS  # noqa: E402

CONTESTANTS = ("paddle", "paddle-bf16", "torch", "torch-sdpa", "torch-bf16", "torch-compile", "paddle-reference",
               "paddle-cross", "paddle-cross-bf16")  # fmt: skip
COLUMNS = ("cpu", "threads", "case", "contestant", "wall p20", "wall p50", "wall p80", "cpu p50", "cpu min", "peak MB",
           "wall ratio", "cpu ratio")  # fmt: skip


class Contestant:
    """A process that does a step when it is told to."""

    def __init__(self, name, case, threads):
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, str(FOLDER / "contestant.py"), name, *map(str, case)]
        self.name, self.figures = name, []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )

    def ask(self, word):
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"{self.name} ended with exit code {self._process.wait()}")
        return [float(x) for x in answer]

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def cpu_name():
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def race(case, names, rounds, threads):
    """Let all take turns; return for each name [rounds, (wall, CPU)] in seconds, and the peak memory in MB."""
    contestants = [Contestant(name, case, threads) for name in names]
    for contestant in contestants:  # warm up: the first compiles, the second fills the allocator
        for _ in range(2):
            contestant.ask("go")
    for turn in range(rounds):
        for contestant in contestants if turn % 2 == 0 else contestants[::-1]:
            contestant.figures.append(contestant.ask("go")[:2])
    results = {c.name: (np.array(c.figures), c.ask("memory")[0]) for c in contestants}
    for contestant in contestants:
        contestant.close()
    return results


def summarize(case, results, threads, ours):
    """Turn the figures into rows of COLUMNS."""
    ours = results[ours][0]
    for name, (figures, memory) in results.items():
        wall, cpu = figures.T
        ratios = np.median(figures / ours, axis=0)
        yield [cpu_name(), threads, " ".join(map(str, case)), name, *np.quantile(wall, [0.2, 0.5, 0.8]),
               np.median(cpu), cpu.min(), memory, *ratios]  # fmt: skip


def parse_case(words):
    """Turn "base pretrain 8" into a case."""
    parts = words.split()
    if len(parts) != 3 or parts[0] not in MODELS or parts[1] not in TASKS or not parts[2].isdigit():
        raise argparse.ArgumentTypeError(
            f"{words!r} is not MODEL TASK BATCH of {', '.join(MODELS)}; {', '.join(TASKS)}"
        )
    return parts[0], parts[1], int(parts[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=parse_case, action="append", help="may be given several times; default: all")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--against", nargs="+", choices=CONTESTANTS, default=["torch", "torch-sdpa"])
    parser.add_argument("--ours", choices=("paddle", "paddle-bf16"), default="paddle", help="raced against the others")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if importlib.util.find_spec("torch") is None and any(name.startswith("torch") for name in args.against):
        print('skipped: PyTorch is not installed; pip install "mae-core[interop]"')
        return
    print(f"{cpu_name()}, {args.threads} threads; seconds, MB, ratios to {args.ours}")
    rows, names = [], [args.ours, *(name for name in args.against if name != args.ours)]
    for case in args.case or CASES:
        print(" ".join(map(str, case)))
        print(f"  {'':18}{'wall p20':>9}{'p50':>9}{'p80':>9}{'CPU p50':>9}{'min':>9}{'MB':>7}{'wall':>7}{'CPU':>7}")
        for row in summarize(case, race(case, names, args.rounds, args.threads), args.threads, args.ours):
            rows.append(row)
            seconds = "".join(f"{x:9.4f}" for x in row[4:9])
            print(f"  {row[3]:18}{seconds}{row[9]:7.0f}{row[10]:7.2f}{row[11]:7.2f}", flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
