"""What the demo and the learning curve measure on the digits: few labels, and a model that has learnt nothing."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from console import call
from mae_core.process.run_log import read_log

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
