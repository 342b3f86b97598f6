"""`mae-pretrain curve`: the loss curve of a run as a PNG."""

from functools import partial
from pathlib import Path

from mae_core.errors import UserError
from mae_core.run_log import read_log
from mae_pretrain.png_file import prepare_png, write_png

_DRAWN = {"epoch", "loss", "lr"}


def draw_curve(run: str | Path, output: str | Path) -> Path:
    """Draw loss and learning rate over epochs from a run's `log.jsonl`.

    Raises:
        UserError: matplotlib is not installed, the run has no log, or the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError('drawing needs matplotlib: pip install "mae-pretrain[plots]"') from None
    log = Path(run) / "log.jsonl"
    try:
        records = [record for record in read_log(log, "train") if record.keys() >= _DRAWN]
    except OSError as error:
        raise UserError(f"{log} cannot be read ({error.strerror})") from None
    if not records:
        raise UserError(f"{log} holds no records of training; give the folder of a run (-output of mae-pretrain)")
    path = Path(output)
    prepare_png(path)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    epochs = [r["epoch"] for r in records]
    axes.plot(epochs, [r["loss"] for r in records], color="tab:blue")
    held_out = [r for r in read_log(log, "validation") if "val_loss" in r]
    if held_out:
        axes.plot(
            [r["epoch"] for r in held_out], [r["val_loss"] for r in held_out], "o", color="tab:orange", label="held out"
        )
        axes.legend()
    axes.set(xlabel="epoch", ylabel="loss (mean over removed patches)", title=str(run))
    axes.grid(alpha=0.3)
    rate = axes.twinx()
    rate.plot(epochs, [r["lr"] for r in records], color="tab:gray", linewidth=1, linestyle="--")
    rate.set_ylabel("learning rate (dashed)")
    write_png(path, partial(figure.savefig, dpi=120))
    return path
