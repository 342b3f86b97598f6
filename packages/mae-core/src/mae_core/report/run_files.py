"""What the folder of a run holds: config, log, provenance and the tables of -eval."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mae_core.errors import UserError
from mae_core.process.run_log import Record, read_log

LOGGED = {"epoch", "loss", "lr"}  # what a curve needs of a record


@dataclass(frozen=True)
class RunFiles:
    """What is there of a run; what is missing is empty.

    Attributes:
        train, validation: records of `log.jsonl`.
        config_text, config: `config.yaml`.
        provenance: `provenance.json`; see `training.provenance`.
        scores: `eval/scores.json`.
        yardsticks: `yardsticks.json`; see `stage.yardsticks`.
    """

    folder: Path
    train: list[Record]
    validation: list[Record]
    config_text: str
    config: dict[str, Any]
    provenance: dict[str, Any]
    scores: dict[str, Any]
    yardsticks: dict[str, Any]

    def table(self, name: str) -> list[list[str]]:
        """Return the rows of `eval/NAME.csv`; none where it is not there."""
        path = self.folder / "eval" / f"{name}.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))


def read_run(run: str | Path) -> RunFiles:
    """Read the folder of a run.

    Raises:
        UserError: there is no run, or a file of it cannot be read.
    """
    folder = Path(run)
    if not (folder / "config.yaml").exists() and not (folder / "log.jsonl").exists():
        raise UserError(f"{folder} is no run: it has neither config.yaml nor log.jsonl; give the -output of a run")
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8") if (folder / "config.yaml").exists() else ""
        log = folder / "log.jsonl"
        return RunFiles(
            folder,
            [r for r in read_log(log, "train") if r.keys() >= LOGGED],
            [r for r in read_log(log, "validation") if "epoch" in r],
            text,
            yaml.safe_load(text) or {},
            _json(folder / "provenance.json"),
            _json(folder / "eval" / "scores.json"),
            _json(folder / "yardsticks.json"),
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{folder} cannot be read ({error}); give the -output of a run") from None


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no object")
    return found
