"""`mae-pretrain curve`: the loss curves of runs as a PNG."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mae_core.errors import UserError
from mae_core.files import png_bytes, prepare_output, refuse_unwritable, write_output
from mae_core.process.installation import pip_install
from mae_core.process.run_log import Record, read_log
from mae_core.report.charts import merge_short_tail, smooth
from mae_core.report.run_files import LOGGED


def draw_curve(runs: Sequence[str | Path], output: str | Path, smoothing: float = 0.0, log_axes: str = "") -> Path:
    """Draw loss over epochs from the `log.jsonl` of runs; of a single one the learning rate too.

    Args:
        smoothing: weight of what came before, 0 to below 1; the unsmoothed curve stays, pale.
        log_axes: "x", "y", "xy" or none.

    Raises:
        UserError: matplotlib is not installed, a run has no log, or the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(f"drawing needs matplotlib: {pip_install('mae-pretrain', 'plots')}") from None
    logs = {str(run): _read(Path(run)) for run in runs}
    path = Path(output)
    prepare_output(path)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, records in logs.items():
        _draw(axes, name, records, smoothing)
    axes.set(xlabel="epoch", ylabel="loss (mean over removed patches)")
    axes.set(xscale="log" if "x" in log_axes else "linear", yscale="log" if "y" in log_axes else "linear")
    axes.grid(alpha=0.3, which="both" if log_axes else "major")
    if len(logs) > 1:
        axes.legend()
    else:
        ((name, records),) = logs.items()
        axes.set_title(name)
        _draw_held_out(axes, runs[0])
        rate = axes.twinx()
        rate.plot([r["epoch"] for r in records], [r["lr"] for r in records], color="tab:gray", lw=1, ls="--")
        rate.set_ylabel("learning rate (dashed)")
    with refuse_unwritable(path):
        write_output(path, png_bytes(partial(figure.savefig, dpi=120)))
    return path


def _draw_held_out(axes: Any, run: str | Path) -> None:
    """Draw the held-out loss as dots, where it was monitored."""
    held_out = [record for record in read_log(Path(run) / "log.jsonl", "validation") if "val_loss" in record]
    if held_out:
        epochs, losses = [r["epoch"] for r in held_out], [r["val_loss"] for r in held_out]
        axes.plot(epochs, losses, "o", color="tab:orange", label="held out")
        axes.legend()


def _read(run: Path) -> list[Record]:
    log = run / "log.jsonl"
    try:
        records = [record for record in read_log(log, "train") if record.keys() >= LOGGED]
    except OSError as error:
        raise UserError(f"{log} cannot be read ({error.strerror})") from None
    if not records:
        raise UserError(f"{log} holds no records of training; give the folder of a run (-output of mae-pretrain)")
    return [dict(record) for record in merge_short_tail(records)]


def _draw(axes: Any, name: str, records: Sequence[Record], smoothing: float) -> None:
    epochs, losses = [r["epoch"] for r in records], [r["loss"] for r in records]
    (line,) = axes.plot(epochs, smooth(losses, smoothing), label=name)
    if smoothing:
        axes.plot(epochs, losses, color=line.get_color(), alpha=0.25, linewidth=1)
