"""Where a run's metrics go: `log.jsonl` always, and the boards that a run names. A broken board never ends a run."""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mae_core.process.installation import pip_install
from mae_core.process.log import LOGGER
from mae_core.process.run_log import RunLog

Pictures: TypeAlias = Mapping[str, NDArray[np.uint8]]  # each [H, W, 1 or 3]
Metrics: TypeAlias = Mapping[str, float] | Pictures


class Writer(Protocol):
    """A place for metrics."""

    def write(self, kind: str, step: int, metrics: Metrics) -> None:
        """Take the metrics of a step.

        Args:
            kind: "train", "validation", or "pictures"; of the last, each is uint8 [H, W, 1 or 3].
            metrics: by name.
        """

    def close(self) -> None:
        """Write what is held back."""


class JsonLines:
    """`log.jsonl`, which takes no pictures."""

    def __init__(self, log: RunLog) -> None:
        self._log = log

    def write(self, kind: str, step: int, metrics: Metrics) -> None:
        if kind != "pictures":
            self._log.write({"kind": kind, "step": step, **metrics})

    def close(self) -> None:
        self._log.close()


class TensorBoard:
    """TensorBoard's event files in `RUN/tensorboard`, by tensorboardX."""

    def __init__(self, folder: Path, config: Mapping[str, object]) -> None:
        self._events = import_module("tensorboardX").SummaryWriter(str(folder / "tensorboard"))
        self._events.add_text("config", f"<pre>{config_text(config)}</pre>")

    def write(self, kind: str, step: int, metrics: Metrics) -> None:
        for name, value in metrics.items():
            if kind == "pictures":
                self._events.add_image(f"{kind}/{name}", value, step, dataformats="HWC")
            else:
                self._events.add_scalar(f"{kind}/{name}", value, step)
        self._events.flush()

    def close(self) -> None:
        self._events.close()


class VisualDL:
    """VisualDL's records in `RUN/visualdl`."""

    def __init__(self, folder: Path, config: Mapping[str, object]) -> None:
        self._records = import_module("visualdl").LogWriter(logdir=str(folder / "visualdl"), display_name=folder.name)
        self._records.add_text("config", config_text(config), 0)

    def write(self, kind: str, step: int, metrics: Metrics) -> None:
        for name, value in metrics.items():
            if kind == "pictures":
                self._records.add_image(f"{kind}/{name}", value, step)
            else:
                self._records.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._records.close()


class WeightsAndBiases:
    """Weights & Biases, in `RUN/wandb`; without a network where WANDB_MODE is offline, which is the default here."""

    def __init__(self, folder: Path, config: Mapping[str, object]) -> None:
        self._wandb = import_module("wandb")
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run = self._wandb.init(dir=str(folder), name=folder.name, config=dict(config), mode=mode)

    def write(self, kind: str, step: int, metrics: Metrics) -> None:
        if kind == "pictures":
            metrics = {name: self._wandb.Image(np.squeeze(value)) for name, value in metrics.items()}
        self._run.log({f"{kind}/{name}": value for name, value in metrics.items()} | {"step": step})

    def close(self) -> None:
        self._run.finish()


BOARDS: dict[str, Callable[[Path, Mapping[str, object]], Writer]] = {
    "tensorboard": TensorBoard,
    "visualdl": VisualDL,
    "wandb": WeightsAndBiases,
}


class Guarded:
    """A board whose first failure is logged, and which is left alone from then on."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, object]) -> None:
        self._name = name
        self._board: Writer | None = None
        self._try(lambda: self._open(folder, config))

    def _open(self, folder: Path, config: Mapping[str, object]) -> None:
        self._board = BOARDS[self._name](folder, config)

    def write(self, kind: str, step: int, metrics: Metrics) -> None:
        if board := self._board:
            self._try(lambda: board.write(kind, step, metrics))

    def close(self) -> None:
        if board := self._board:
            self._try(board.close)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except ImportError as error:
            self._board = None
            advice = pip_install("mae-core", self._name)
            LOGGER.warning(f"LOGGERS {self._name}: not installed ({error}); the run goes on without it; {advice}")
        except Exception as error:
            self._board = None
            LOGGER.warning(f"LOGGERS {self._name}: {error or type(error).__name__}; the run goes on without it")


def open_writers(log: RunLog, names: Sequence[str], folder: Path, config: Mapping[str, object]) -> list[Writer]:
    """Open the log and the boards that are named.

    Args:
        names: of BOARDS.
        folder: of the run; boards write below it.
        config: shown on boards.
    """
    return [JsonLines(log), *(Guarded(name, folder, config) for name in names)]


def config_text(config: Mapping[str, object], indent: str = "") -> str:
    """Return nested settings as lines, groups indented."""
    lines = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", config_text(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)
