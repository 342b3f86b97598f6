"""What the demo and the learning curve measure on the digits, and the commands that they run as a user types them."""

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mae_core.process.run_log import read_log


def call(*words: object) -> str:
    """Show a command, run it, show its output as it comes, and return it; a failure ends the program."""
    return call_together([words])[0]


def call_together(commands: Sequence[Sequence[object]]) -> list[str]:
    """Run commands at the same time, the cores shared among them.

    The first one's output is shown as it comes, that of the others when they have ended: small models
    gain little from a second core, two of them side by side do.

    Returns:
        what each printed.

    Raises:
        SystemExit: one failed, with its exit code.
    """
    for words in commands:
        print(f"\n$ {shlex.join(map(str, words))}", flush=True)
    processes = [start(words, threads=max(1, (os.cpu_count() or 1) // len(commands))) for words in commands]
    outputs = [_follow(processes[0]), *(process.communicate()[0] for process in processes[1:])]
    for words, output in zip(commands[1:], outputs[1:], strict=True):
        print(f"\n# {shlex.join(map(str, words))}\n{output}", end="", flush=True)
    code = next((code for process in processes if (code := process.wait())), 0)
    if code:
        raise SystemExit(code)
    return outputs


def start(words: Sequence[object], threads: int) -> "subprocess.Popen[str]":
    """Start a script with so many threads unless the user has set a number."""
    command = [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])]
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _follow(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    return "".join(lines)


PER_CLASS = 10  # labels of "few labels"
PRETRAIN, PROBE, FINETUNE = (f"vit_digits_32_{kind}" for kind in ("pretrain", "linearprobe", "finetune"))
# Fine-tuning with few labels, at the rate at which training from scratch does best (of 5e-4, 1e-3 and 2e-3).
FEW_LABELS = {
    "DATA.BATCH_SIZE": 20,
    "DATA.BATCH_SIZE_EVAL": 150,
    "TRAIN.NUM_EPOCHS": 100,
    "TRAIN.WARMUP_EPOCHS": 10,
    "TRAIN.LINEAR_SCALED_LR": None,
    "TRAIN.BASE_LR": 1e-3,
    "VALIDATE_FREQ": 5,
    "SAVE_FREQ": 100,
}


def prepare(folder: Path) -> None:
    """Write the digits as images unless they are there."""
    if not (folder / "train_list.txt").exists():
        call("mae-data", "demo-dataset", folder)


def few_labels(folder: Path, seed: int) -> str:
    """Write a list of PER_CLASS training images per class, drawn by seed; returns its name."""
    lines = (folder / "train_list.txt").read_text().splitlines()
    draw, chosen = random.Random(seed), []
    for digit in range(10):
        chosen += draw.sample([line for line in lines if line.endswith(f" {digit}")], PER_CLASS)
    name = f"train_list_{PER_CLASS}_per_class_{seed}.txt"
    (folder / name).write_text("".join(f"{line}\n" for line in chosen))
    return name


def write_initial_weights(file: Path, pairs: Sequence[object] = ()) -> Path:
    """Write the weights that pre-training starts from; `pairs` are its KEY VALUE words."""
    from mae_core.process.runtime import import_paddle
    from mae_pretrain.config import RECIPE

    import_paddle()
    from safetensors.numpy import save_file

    from mae_pretrain.build import build_model

    model = build_model(RECIPE.load(PRETRAIN, pairs=[str(word) for word in pairs]))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.numpy() for name, value in model.state_dict().items()}, file)
    return file


def words_of(settings: Mapping[str, object]) -> list[object]:
    """Turn settings into KEY VALUE words."""
    return [word for pair in settings.items() for word in pair]


def last_top1(run: Path) -> float:
    """Return the accuracy after a run's last epoch; not the best, which would be chosen on the same images."""
    return float(read_log(run / "log.jsonl", "validation")[-1]["top1"])


def top1(file: Path) -> float:
    """Read the accuracy, in percent, that `mae-probe knn --k K` or `logistic` wrote with --json."""
    found = json.loads(file.read_text())["top1"]
    (accuracy,) = found.values() if isinstance(found, dict) else [found]
    return float(accuracy)
