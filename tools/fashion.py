"""Fashion-MNIST: what pre-training is worth beside random weights, raw pixels and training from scratch.

    apt install dataset-fashion-mnist
    python tools/fashion.py /usr/share/datasets/fashion-mnist
    python tools/fashion.py /usr/share/datasets/fashion-mnist --seeds 0 --only "knn *" --only "logistic * 100"

A step is some commands on one core. Its figures are written to the results file when they are known, and a step that
stands there is not repeated; a training that was stopped goes on. At the end the tables of
packages/mae-probe/docs/small_data.md are printed, and with `--page` written into it. Recipes are chosen with
`--held-out` and other files for `--output` and `--results`: the last 10,000 training images are scored, the others
train, and what is reported is not looked at.
"""

import argparse
import json
import os
import re
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from digits import FINETUNE, PRETRAIN, PROBE, last_top1, words_of
from fashion_tables import LABELS, POOLS, write_page
from garments import read_idx
from learning_curve import RESULTS, quietly, run
from mae_core.files import write_atomic

SIZES = {"DATA.IMAGE_SIZE": 28, "DATA.HFLIP": 0.5, "MODEL.ENCODER.EMBED_DIM": 128, "MODEL.ENCODER.DEPTH": 4}
FROZEN = SIZES | {"MODEL.GLOBAL_POOL": False, "DATA.BATCH_SIZE": 250}  # with the class token, which else has no norm
PRETRAINING = {"DATA.BATCH_SIZE": 32, "TRAIN.BASE_LR": 0.008, "SAVE_FREQ": 4, "REPORT_FREQ": 200}
REFINING = {"DATA.BATCH_SIZE": 128, "MODEL.HEADS.NUMBER": 2, "MODEL.HEADS.QUEUE": 16384, "TRAIN.EMA": 0.999}


class Schedule(NamedTuple):
    """A pre-training: epochs, epochs of warm-up, flags, whose weights it begins with, and whether it refines those."""

    epochs: int
    warmup: int
    flags: Sequence[str] = ()
    first: str | None = None
    refines: bool = False


SCHEDULES = {
    "f8": Schedule(8, 1),
    "f8amp": Schedule(8, 1, ["-amp"]),
    "f32": Schedule(32, 2, ["-amp"]),
    "f72": Schedule(40, 1, ["-amp"], "f32"),
    "r72": Schedule(7, 1, ["-amp"], "f72", refines=True),
}
HEADS: dict[str, dict[str, object]] = {
    "linear": {"MODEL.GLOBAL_POOL": True},
    "attentive": {"MODEL.GLOBAL_POOL": False, "MODEL.HEAD": "attentive", "MODEL.NUM_QUERIES": 8},
}

# `--C` of logistic regression by labels per class, at which raw pixels did best of 1, 0.1, 0.01, 0.001.
PENALTIES = {"10": 0.1, "100": 0.01, "1000": 0.01, "all": 0.01}
TUNING = {
    "DATA.BATCH_SIZE_EVAL": 250,
    "TRAIN.LINEAR_SCALED_LR": None,
    "TRAIN.BASE_LR": 1e-3,
    "SAVE_FREQ": 1000,
}
# By labels per class: images of a batch, epochs, epochs of warm-up. Those of 1000 are guesses, not chosen.
LENGTHS = {"10": (20, 100, 10), "100": (50, 40, 4), "1000": (64, 8, 1), "all": (64, 45, 1)}
Figures = dict[str, float]


def main() -> int:
    """Measure what is asked for and not known yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fashion", type=Path, help="folder of Fashion-MNIST's four idx files, gzipped or not")
    parser.add_argument("--output", type=Path, default=Path("fashion"), help="folder for lists and runs")
    parser.add_argument("--runs", type=Path, help="folder of the pre-trainings f8-s0, f8-s1, ... (default in --output)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--pretraining", choices=SCHEDULES, default="f8", help="f and epochs; amp: in bfloat16; r: refined"
    )
    parser.add_argument("--only", action="append", metavar="PATTERN", help='steps, such as "knn *"; may be repeated')
    parser.add_argument("--results", type=Path, default=RESULTS / "fashion.json")
    parser.add_argument("--held-out", action="store_true", help="score the last sixth of the training images")
    parser.add_argument("--list", action="store_true", help="print the steps and do none")
    parser.add_argument("--page", type=Path, help="write the tables into this page")
    args = parser.parse_args()
    for seed in args.seeds:
        runs = args.runs or args.output / "runs"
        trial = Trial(args.fashion, args.output, runs, args.pretraining, seed, args.held_out)
        for name, measure in trial.steps().items():
            if any(fnmatch(name, pattern) for pattern in args.only or "*"):
                print(name, f"seed {seed}") if args.list else do(args.results, name, seed, measure)
    write_page(known(args.results), args.page)
    return 0


def do(results: Path, name: str, seed: int, measure: Callable[[], Figures]) -> None:
    """Do a step unless its figures are known, and write them."""
    if any((record["step"], record["seed"]) == (name, seed) for record in known(results)):
        return
    before = cpu_seconds()
    top1 = measure()
    record = {"step": name, "seed": seed, "cpu_minutes": round((cpu_seconds() - before) / 60, 2), "top1": top1}
    records = [*known(results), record]  # read again: two of these may run side by side, each with other seeds
    write_atomic(results, ("[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n").encode())
    print(json.dumps(record), flush=True)


def known(results: Path) -> list[dict[str, Any]]:
    """Read the records of the steps that are done."""
    return json.loads(results.read_text()) if results.exists() else []


def cpu_seconds() -> float:
    """Return the time of the commands that have ended: on a shared machine it says more than a clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Trial:
    """One seed of one pre-training, with the folders that all share."""

    fashion: Path
    output: Path
    runs: Path
    schedule: str
    seed: int
    held_out: bool = False

    def steps(self) -> dict[str, Callable[[], Figures]]:
        """Return what can be measured, by name; what does not depend on the pre-training has no part of its name."""
        weights: dict[str, list[object]] = {self.schedule: ["-pretrained", self.pretrained], "random": ["-random_init"]}
        found: dict[str, Callable[[], Figures]] = {f"pretrain {self.schedule}": self.pretrain}
        for name, words in weights.items():
            found[f"knn {name}"] = partial(self.knn, words)
            found |= {f"{head} {name}": partial(self.probe, head, name, words) for head in HEADS}
            found |= {f"logistic {name} {labels}": partial(self.logistic, labels, words) for labels in LABELS}
        for labels in LABELS:
            found[f"logistic pixels {labels}"] = partial(self.logistic, labels, None)
            found[f"finetune {self.schedule} {labels}"] = partial(self.finetune, labels, self.schedule)
            found[f"finetune scratch {labels}"] = partial(self.finetune, labels, "scratch")
        return found

    @property
    def pretrained(self) -> Path:
        """The run of pre-training."""
        return self.runs / f"{self.schedule}-s{self.seed}"

    def pretrain(self) -> Figures:
        """Pre-train, or go on with it; there is nothing to score."""
        epochs, warmup, flags, first, refines = SCHEDULES[self.schedule]
        settings: dict[str, object] = {"TRAIN.NUM_EPOCHS": epochs, "TRAIN.WARMUP_EPOCHS": warmup, "SEED": self.seed}
        settings |= REFINING if refines else SIZES | PRETRAINING
        stage = ["refine", "-cfg", "vit_tiny_28_refine"] if refines else ["-cfg", PRETRAIN]
        words: list[object] = ["mae-pretrain", *stage, "-data_path", self.fashion, *flags]
        if first:
            words += ["-pretrained", self.runs / f"{first}-s{self.seed}"]
            settings["SEED"] = self.seed + 100  # lest it sees the masks and crops of the first again
        run(self.pretrained, [*words, *words_of(settings)])
        return {}

    def knn(self, weights: Sequence[object]) -> Figures:
        """Score kNN of each pool, as the features are and whitened, and of raw pixels."""
        found = Figures()
        for flags in ([], ["--whiten"]):
            words = ["knn", *self.of_features(weights), "--pool", *POOLS, "--k", 10, *flags]
            figures = self.json_of([*words, *words_of(FROZEN | {"SEED": self.seed})])
            for pool, by_k in figures["top1"].items():
                found[f"{pool} whitened" if flags else pool] = by_k["10"]
            found["raw pixels"] = figures["raw_pixels"]["10"]
        return found

    def logistic(self, labels: str, weights: Sequence[object] | None) -> Figures:
        """Score logistic regression on some labels per class, of features or, without weights, of raw pixels."""
        name = self.list_of(labels)
        if weights is None:
            files = [write_pixels(self.data, each) for each in (name, "val_list.txt")]
            words: list[object] = ["--train", files[0], "--val", files[1], "--C", PENALTIES[labels]]
            return {"raw pixels": self.json_of(["logistic", *words])["top1"]}
        settings = FROZEN | {"SEED": self.seed, "DATA.TRAIN_LIST": name}
        words = [
            "logistic",
            "--no-yardsticks",
            *self.of_features(weights),
            "--pool",
            "mean",
            "grid2",
            "--C",
            PENALTIES[labels],
        ]
        return dict(self.json_of([*words, *words_of(settings)])["top1"])

    def of_features(self, weights: Sequence[object]) -> list[object]:
        """Return what commands on features begin with."""
        return ["-cfg", PROBE, "-data_path", self.data, *weights]

    def json_of(self, words: Sequence[object]) -> dict[str, Any]:
        """Run `mae-probe`; returns what it wrote with --json."""
        file = self.output / f"figures-{os.getpid()}.json"
        quietly(["mae-probe", words[0], "--json", file, *words[1:]])
        figures: dict[str, Any] = json.loads(file.read_text())
        file.unlink()
        return figures

    def probe(self, head: str, name: str, weights: Sequence[object]) -> Figures:
        """Train a head on all labels, on features that are encoded once."""
        settings = SIZES | HEADS[head] | {"TRAIN.CACHE_FEATURES": True, "VALIDATE_FREQ": 30, "SEED": self.seed}
        words = ["mae-probe", *self.of_features(weights)]
        return {"all": self.train(f"{head}-{name}", words, settings)}

    def finetune(self, labels: str, name: str) -> Figures:
        """Train a classifier on some labels per class, from pre-trained weights or from scratch."""
        batch, epochs, warmup = LENGTHS[labels]
        recipe = {
            "DATA.BATCH_SIZE": batch,
            "DATA.TRAIN_LIST": self.list_of(labels),
            "TRAIN.NUM_EPOCHS": epochs,
            "TRAIN.WARMUP_EPOCHS": warmup,
            "VALIDATE_FREQ": epochs,
            "SEED": self.seed,
        }
        if labels == "all":  # the recipe of few labels held it back: the loss in training was as high as in validation
            recipe |= {"DATA.CROP_SCALE": "[0.8, 1.0]", "MODEL.DROPPATH": 0.05, "TRAIN.RANDOM_ERASE_PROB": 0.25}
        settings = SIZES | TUNING | recipe | ({"TRAIN.LAYER_DECAY": 1.0} if name == "scratch" else {})
        words: list[object] = ["mae-finetune", "-cfg", FINETUNE, "-data_path", self.data, "-amp"]
        words += [] if name == "scratch" else ["-pretrained", self.pretrained]
        return {labels: self.train(f"finetune-{name}-{labels}", words, settings)}

    def train(self, name: str, words: Sequence[object], settings: dict[str, Any]) -> float:
        """Train, or go on; returns the accuracy after the last epoch."""
        output = self.output / f"s{self.seed}" / name
        run(output, [*words, *words_of(settings)])
        return last_top1(output)

    @property
    def data(self) -> Path:
        """A folder of links to the images, with lists, which the folder of the images need not take."""
        folder = self.output / "data"
        if not (folder / "val_list.txt").exists():
            folder.mkdir(parents=True, exist_ok=True)
            for file in self.fashion.glob("*-ubyte*"):
                (folder / file.name).symlink_to(file.resolve())
            quietly(["mae-data", "index", folder])
            if self.held_out:
                split_training_list(folder)
        return folder

    def list_of(self, labels: str) -> str:
        """Return the list of so many labels per class, drawn by the seed."""
        if labels == "all":
            return "train_list.txt"
        file = self.data / f"train_{labels}_s{self.seed}.txt"
        if not file.exists():
            words = ["--per-class", labels, "--seed", self.seed, "--output", file]
            quietly(["mae-data", "subset", self.data / "train_list.txt", *words])
        return file.name


def split_training_list(folder: Path) -> None:
    """Make the last sixth of the training images those that are scored."""
    lines = (folder / "train_list.txt").read_text().splitlines(keepends=True)
    middle = len(lines) * 5 // 6
    (folder / "train_list.txt").write_text("".join(lines[:middle]))
    (folder / "val_list.txt").write_text("".join(lines[middle:]))


def write_pixels(data: Path, name: str) -> Path:
    """Write the pixels of a list's images as a feature file."""
    lines = re.findall(r"^(.+)\[(\d+)\] (\d+)$", (data / name).read_text(), re.MULTILINE)
    images = read_idx(data / lines[0][0])  # a list is of one file
    rows, labels = (np.array([int(line[column]) for line in lines]) for column in (1, 2))
    file = data / f"{Path(name).stem}_pixels.npz"
    pixels = images[rows].reshape(len(rows), -1).astype(np.float32)
    np.savez(file, features=pixels, labels=labels, paths=np.array([f"{line[0]}[{line[1]}]" for line in lines]))
    return file


if __name__ == "__main__":
    sys.exit(main())
