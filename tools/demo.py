"""The demo: real handwritten digits through MAE pre-training on a CPU, to pictures a person can judge.

Everything is done by the commands a user would type; each is printed before it runs.
"""

import argparse
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

CONFIG = "vit_digits_32_pretrain"


def main() -> int:
    """Run the demo; return the exit code of the first command that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for data, run and pictures")
    parser.add_argument("pairs", nargs="*", metavar="KEY VALUE", help="config overrides, such as TRAIN.NUM_EPOCHS 5")
    args = parser.parse_args()
    started = time.perf_counter()
    digits, run = args.output / "digits", _next_run(args.output)
    common = ["-cfg", CONFIG, "-data_path", digits]
    if not (digits / "train_list.txt").exists():
        _call("mae-data", "demo-dataset", digits)
    _call("mae-pretrain", *common, "-output", run, *args.pairs)
    scores = _call("mae-pretrain", "-eval", *common, "-pretrained", run, *args.pairs)
    samples = [sorted((digits / "val" / str(digit)).glob("*.jpg"))[0] for digit in range(10)]
    _call("mae-pretrain", "visualize", "-pretrained", run, "-output", run / "reconstruction.png", *samples)
    _call("mae-pretrain", "curve", run)
    print(_summary(scores, run, time.perf_counter() - started))
    return 0


def _next_run(output: Path) -> Path:
    """Return a run folder that does not exist yet: nothing of an earlier demo is overwritten."""
    numbers = [int(p.name[4:]) for p in output.glob("run-*") if p.name[4:].isdigit()]
    return output / f"run-{max(numbers, default=0) + 1}"


def _call(script: str, *args: object) -> str:
    """Run a console script of this environment, show its output as it comes, and return it."""
    words = [script, *map(str, args)]
    print(f"\n$ {shlex.join(words)}", flush=True)
    command = [str(Path(sys.executable).with_name(script)), *words[1:]]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(process.returncode)
    return "".join(lines)


def _summary(scores: str, run: Path, seconds: float) -> str:
    """Lay the evaluation's figures out as a table, with where the pictures are."""
    errors = {
        name: float(match.group(1))
        for name, pattern in (
            ("MAE", r"MAE (\d+\.\d+)"),
            ("inpainting from the visible patches", r"inpainting (\d+\.\d+)"),
            ("mean training image", r"mean image (\d+\.\d+)"),
        )
        if (match := re.search(pattern, scores))
    }
    rows = [f"  {name:38}{error:.4f}  {error / errors['mean training image']:5.0%}" for name, error in errors.items()]
    return "\n".join(
        [
            "",
            "Held-out digits, mean squared error of the removed pixels (0 to 1), and as a share of the mean image's:",
            *rows,
            f"reconstructions: {run / 'reconstruction.png'}",
            f"loss curve:      {run / 'loss.png'}",
            f"took {seconds:.0f} s",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
