"""Prove that a run cannot be lost: end it at random moments, go on, and compare with a run that was left alone.

    python tools/chaos.py --ends 100 --seed 0 --output chaos

Every scenario is a kind of training with 0 or 2 loader workers on 1 or 2 ranks. Its run is ended by SIGKILL or SIGTERM,
of a rank or, alone, of the main process, after a random time; it is resumed and ended again until it is through. Then
all arrays of its last checkpoint must equal those of the run that was left alone, bit for bit. Saving and validating
each few steps puts many ends inside them; `--scoring` aims all ends at the time between an epoch's last step and its
score, in which a checkpoint is written and the model validated (pre-training: monitored). The results go to
OUTPUT/chaos.json; the exit code is 1 where anything differed.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file

from soak import COMMON, PRETRAIN, write_data

CLASSIFY: dict[str, object] = {"MODEL.NUM_CLASSES": 3, "VALIDATE_FREQ": 2}
MONITORED: dict[str, object] = {"MONITOR.EVERY": 2}  # what stands for validation in pre-training
STEPS_TO_SCORE = 12  # two epochs of 48 images in batches of 8


class Kind(NamedTuple):
    """A way to train.

    Attributes:
        module: the stage's.
        settings: beside COMMON.
        data: folder of its images.
        command: of the module, which begins with a finished run; none: the module's own.
    """

    module: str
    settings: dict[str, object]
    data: str = "images"
    command: str = ""


KINDS = {
    "mae_pretrain": Kind("mae_pretrain", PRETRAIN),
    "mae_finetune": Kind(
        "mae_finetune", {**CLASSIFY, "TRAIN.MIXUP_ALPHA": 0.8, "TRAIN.EMA": 0.99, "MODEL.DROPPATH": 0.1}
    ),
    "mae_probe": Kind("mae_probe", CLASSIFY),
    "bfloat16": Kind("mae_pretrain", {**PRETRAIN, "AMP": True}),  # float32 where the processor has no such products
    "shards": Kind("mae_pretrain", PRETRAIN, "shards"),
    "scenes": Kind("mae_pretrain", {**PRETRAIN, "DATA.CROP": "native", "DATA.CROPS": 12, "DATA.NODATA": 0}, "scenes"),
    "refine": Kind(
        "mae_pretrain",
        {
            "TRAIN.HEADS_EPOCHS": 12, "TRAIN.EMA": 0.99, "MODEL.HEADS.NUMBER": 2, "MODEL.HEADS.PROJECTOR_DIM": 32,
            "MODEL.HEADS.PREDICTOR_DIM": 32, "MODEL.HEADS.DIM": 16, "MODEL.HEADS.QUEUE": 40,
        },
        command="refine",
    ),
    "distill": Kind("mae_pretrain", {**PRETRAIN, "MODEL.ENCODER.NUM_HEADS": 1}, command="distill"),
    "segment": Kind(
        "mae_finetune",
        {
            **CLASSIFY, "MODEL.TASK": "segment", "MODEL.HEAD": "light", "MODEL.HEAD_CHANNELS": 16, "DATA.IGNORE": 255,
            "TRAIN.MIXUP_ALPHA": 0.0, "TRAIN.CUTMIX_ALPHA": 0.0, "TRAIN.SMOOTHING": 0.0, "TRAIN.RAND_AUGMENT": False,
            "TRAIN.RANDOM_ERASE_PROB": 0.0,
        },
        "masks",
    ),
}  # fmt: skip


@dataclass
class Scenario:
    """A kind of training as it is run, and what came of it.

    Attributes:
        ends: how its run was ended, one word each.
        inside_saves: SIGKILLs that left a half-written checkpoint behind.
        before_scores: ends between an epoch's last step and its score.
        codes: exit codes after SIGTERM.
        slowest_stop: seconds from SIGTERM to the end.
        same: whether all arrays were those of the run left alone.
    """

    kind: str
    workers: int
    ranks: int
    ends: list[str] = field(default_factory=list)
    inside_saves: int = 0
    before_scores: int = 0
    codes: list[int] = field(default_factory=list)
    slowest_stop: float = 0.0
    same: bool | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}-workers{self.workers}-ranks{self.ranks}"


def start(scenario: Scenario, data: Path, run: Path, scoring: bool) -> subprocess.Popen[bytes]:
    """Begin or resume a scenario's run, in a process group of its own."""
    kind = KINDS[scenario.kind]
    settings = {**COMMON, **kind.settings, "DATA.NUM_WORKERS": scenario.workers}
    settings |= MONITORED if scoring and scenario.kind == "mae_pretrain" else {}
    pairs = [word for pair in settings.items() for word in pair]
    flags: list[object] = ["-batch_size", 8 // scenario.ranks, "-data_path", data / kind.data]
    flags += ["-output", run, "-resume", "auto"]
    if kind.command:
        flags = [kind.command, "-pretrained", data / "finished", *flags]
    command: list[object] = [sys.executable, "-m", kind.module]
    if scenario.ranks > 1:
        script = subprocess.check_output([sys.executable, "-c", f"import {kind.module} as s; print(s.__path__[0])"])
        launcher: list[object] = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", scenario.ranks]
        command = [*launcher, "--log_dir", f"{run}-logs", f"{script.decode().strip()}/__main__.py"]
    log = (run.parent / f"{run.name}.log").open("ab")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [str(word) for word in (*command, *flags, *pairs)]
    return subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True, env=env)


def finish_a_run(data: Path) -> None:
    """Pre-train for an epoch, for kinds that begin with a finished run."""
    pairs = [word for pair in (COMMON | PRETRAIN | {"TRAIN.NUM_EPOCHS": 1}).items() for word in pair]
    flags = ["-batch_size", 8, "-data_path", data / "images", "-output", data / "finished"]
    command = [str(word) for word in (sys.executable, "-m", "mae_pretrain", *flags, *pairs)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def ranks_of(process: subprocess.Popen[bytes], ranks: int) -> list[int]:
    """Return the processes that train: the command itself, or what the launcher started."""
    if ranks == 1:
        return [process.pid]
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


def is_to_be_scored(run: Path) -> bool:
    """Return whether the last that a run has logged is the training of an epoch whose score is due."""
    log = run / "log.jsonl"
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    last = json.loads(lines[-1]) if lines else {}
    return last.get("kind") == "train" and last["step"] % STEPS_TO_SCORE == 0


def await_scoring(process: subprocess.Popen[bytes], run: Path, rng: random.Random) -> None:
    """Return at a random moment of one of the next three scorings, or when the run is through."""
    left, before = rng.randint(1, 3), True  # where it was ended in a scoring, that is not the next one
    while process.poll() is None and left:
        now = is_to_be_scored(run)
        left -= now and not before
        before = now
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.02))


def end(process: subprocess.Popen[bytes], scenario: Scenario, run: Path, rng: random.Random) -> None:
    """End a run now, by SIGKILL or SIGTERM to one of its ranks, and note how it went."""
    number = rng.choice([signal.SIGKILL, signal.SIGTERM])
    while not (victims := ranks_of(process, scenario.ranks)) and process.poll() is None:
        time.sleep(0.05)  # the launcher is still at its start
    if not victims:
        return  # through already: the caller sees it
    started = time.monotonic()
    scenario.before_scores += is_to_be_scored(run)
    os.kill(rng.choice(victims), number)
    code = process.wait(120)
    scenario.ends.append(number.name)
    if number is signal.SIGKILL:
        scenario.inside_saves += any((run / "checkpoints").glob(".step_*.tmp"))
    else:
        scenario.codes.append(code)
        scenario.slowest_stop = max(scenario.slowest_stop, time.monotonic() - started)


def last_arrays(run: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield all arrays of a run's newest checkpoint."""
    newest = max((run / "checkpoints").glob("step_*"))
    for file in sorted(newest.glob("*.safetensors")):
        for name, value in sorted(load_file(file).items()):
            yield f"{newest.name}/{file.name}/{name}", value


def same(a: Path, b: Path) -> bool:
    """Return whether two runs ended with the same arrays."""
    pairs = itertools.zip_longest(last_arrays(a), last_arrays(b))
    return all(x and y and x[0] == y[0] and np.array_equal(x[1], y[1]) for x, y in pairs)


def torment(scenario: Scenario, ends: int, data: Path, output: Path, rng: random.Random, scoring: bool) -> None:
    """Run a scenario twice, left alone and ended `ends` times, and compare."""
    alone, ended = output / f"{scenario.name}-alone", output / f"{scenario.name}-ended"
    started = time.monotonic()
    if start(scenario, data, alone, scoring).wait():
        raise SystemExit(f"{alone.name} failed; see {alone}.log")
    seconds = time.monotonic() - started
    while True:
        process = start(scenario, data, ended, scoring)
        if len(scenario.ends) < ends:
            if scoring:
                await_scoring(process, ended, rng)
            else:  # before the first step, too: a start costs a good part of these short runs
                with suppress(subprocess.TimeoutExpired):
                    process.wait(seconds * rng.uniform(0.3, 1.0))
            if process.poll() is None:
                end(process, scenario, ended, rng)
                if process.returncode:
                    continue
        if process.wait():
            raise SystemExit(f"{ended.name} failed; see {ended}.log")
        if len(scenario.ends) >= ends:
            break
        scenario.same = scenario.same is not False and same(alone, ended)  # through before it was ended: once more
        shutil.rmtree(ended)
    scenario.same = scenario.same is not False and same(alone, ended)


def main() -> int:
    """Run all scenarios; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ends", type=int, default=100, help="how often runs are ended, over all scenarios")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scoring", action="store_true", help="end runs between an epoch's last step and its score")
    parser.add_argument("--output", type=Path, default=Path("chaos"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--ranks", nargs="+", type=int, choices=[1, 2], default=[1, 2])
    args = parser.parse_args()
    rng, data = random.Random(args.seed), args.output / "data"
    shutil.rmtree(args.output, ignore_errors=True)
    write_data(data)
    if any(KINDS[kind].command for kind in args.kinds):
        finish_a_run(data)
    scenarios = [Scenario(*words) for words in itertools.product(args.kinds, args.workers, args.ranks)]
    for i, scenario in enumerate(scenarios):
        torment(scenario, (args.ends + i) // len(scenarios), data, args.output, rng, args.scoring)
        print(f"{scenario.name}: {len(scenario.ends)} ends, {'same' if scenario.same else 'DIFFERENT'}", flush=True)
        (args.output / "chaos.json").write_text(json.dumps([asdict(s) for s in scenarios[: i + 1]], indent=1))
    ends = sum(len(s.ends) for s in scenarios)
    print(
        f"{ends} ends, {sum(s.ends.count('SIGKILL') for s in scenarios)} of them SIGKILL"
        f" ({sum(s.inside_saves for s in scenarios)} inside a save);"
        f" {sum(s.before_scores for s in scenarios)} before a score;"
        f" {sum(bool(s.same) for s in scenarios)} of {len(scenarios)} scenarios ended the same;"
        f" slowest stop {max(s.slowest_stop for s in scenarios):.1f} s"
    )
    return 0 if all(s.same for s in scenarios) else 1


if __name__ == "__main__":
    sys.exit(main())
