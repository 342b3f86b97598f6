"""Pre-training as one call: the same run as `mae-pretrain`'s."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from mae_core.process import log
from mae_core.stage.config.from_call import config_of_call, stated_in_call
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.run import dry_run as dry_runs
from mae_core.training.engine import Trainer
from mae_pretrain.advice.auto import AUTO, choose_plan
from mae_pretrain.advice.budget import stated_seconds
from mae_pretrain.config import RECIPE
from mae_pretrain.train import build_run, train


def pretrain(
    data: str | PathLike[str],
    *,
    output: str | PathLike[str],
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    pretrained: str | PathLike[str] | None = None,
    resume: str | PathLike[str] | None = None,
    cfg: str | None = None,
    budget: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Trainer:
    """Pre-train a masked autoencoder on a folder of images (paper section 4).

    What is not given is as in the config, or else as in the recipe of the paper (Table 8).

    Args:
        data: folder of images, with or without lists, or another source that `-data_path` takes.
        output: run folder: log, config, checkpoints.
        model: such as "mae_vit_tiny_patch16", a name of `mae_core.PRESETS`.
        epochs: passes over the data; the warm-up keeps its share of them.
        batch_size: images per rank and forward pass.
        image_size: pixels, one number or (height, width), of whole patches.
        pretrained: weights to start from.
        resume: run or checkpoint folder to go on from; "auto": `output`, or anew where it holds none.
        cfg: YAML config: a file, or the name of a packaged one; "auto": chosen for the images and this machine.
        budget: how long training may take, such as "30m" or "2h", instead of epochs.
        settings: values by dotted config key, over all else: {"TRAIN.BASE_LR": 1e-3}.

    Returns:
        the trainer at the end of its plan; its `model` holds the weights.

    Raises:
        UserError: arguments, data, checkpoint or loss that a run cannot go on with.
    """
    opened = _open(
        cfg,
        budget,
        settings,
        model=model,
        data=data,
        output=output,
        epochs=epochs,
        batch_size=batch_size,
        image_size=image_size,
        pretrained=pretrained,
        resume=resume,
    )
    return train(opened)


def dry_run(
    data: str | PathLike[str],
    *,
    cfg: str | None = None,
    budget: str | None = None,
    settings: Mapping[str, Any] | None = None,
    show_config: bool = False,
    **arguments: Any,
) -> None:
    """Print what `pretrain` would do with the same arguments: images found, steps, time and memory; write nothing.

    Args:
        data, cfg, budget, settings, arguments: those of `pretrain`.
        show_config: print every key first.

    Raises:
        UserError: what would refuse the run itself.
    """
    opened = _open(cfg, budget, settings, data=data, **arguments)
    for line in list(dry_runs.dry_run(opened, build_run))[0 if show_config else 1 :]:
        print(line)


def _open(cfg: str | None, budget: str | None, settings: Mapping[str, Any] | None, **arguments: Any) -> Opened:
    """Open a run, of what is stated and what "auto" and a length of time choose."""
    lines: Sequence[str] = ()
    if cfg == AUTO or budget:
        seconds = stated_seconds(budget) if budget else None
        choice = choose_plan(cfg, stated_in_call(settings, **arguments), (), seconds, build_run)
        cfg, settings, lines = choice.recipe, {**choice.values, **(settings or {})}, choice.lines
    opened = config_of_call(RECIPE, cfg, settings, **arguments)
    log.log_lines(lines)
    return opened
