"""The step whose loss or gradient was not finite, kept so that it can be looked at and done again.

`RUN/capture` is a run folder of its own: its one checkpoint holds weights, moments and config as they were before the
update, and resuming from it does the step again, since all that is random depends on (SEED, step, image) only.
"""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mae_core.errors import CheckpointError
from mae_core.files import publish_folder
from mae_core.training.checkpoints.checkpoint import Snapshot, write_snapshot


@dataclass(frozen=True)
class Pass:
    """One forward pass of a step.

    Args:
        indices: of its images; with SEED and epoch the key of their masks.
        files: names of the first ones.
    """

    rank: int
    loss: float
    indices: list[int]
    files: str


def write_capture(
    run: Path, snapshot: Snapshot, where: Mapping[str, float], passes: Sequence[Pass], program: str
) -> str:
    """Write `run/capture`, whole or not at all.

    Args:
        snapshot: state before the update.
        where: step, epoch, learning rate and seed.
        program: command that trains.

    Returns:
        where it is and how to do the step again, for messages.
    """
    folder = run / "capture"
    command = _replay(run, program, 1 + max(one.rank for one in passes))
    listed = [{**asdict(p), "loss": p.loss if math.isfinite(p.loss) else str(p.loss)} for p in passes]
    try:
        with publish_folder(folder) as temporary:
            write_snapshot(temporary / "checkpoints", snapshot)
            record = {**where, "replay": command, "passes": listed}
            (temporary / "batch.json").write_text(json.dumps(record, indent=1))
    except (OSError, CheckpointError) as error:
        return f"{folder} could not be written: {error}"
    return f"weights and batch are kept in {folder}; the step again: {command}"


def _replay(run: Path, program: str, ranks: int) -> str:
    """Write the command that does the step again, with as many ranks: what is drawn for a batch is drawn by rank."""
    launched = f"python -m paddle.distributed.launch --nproc_per_node {ranks} $(which {program})"
    paths = {"cfg": run / "config.yaml", "resume": run / "capture", "output": run / "replay"}
    words = (f"-{flag} {shlex.quote(str(path))}" for flag, path in paths.items())
    return " ".join([launched if ranks > 1 else program, *words])
