"""A classifier to score: all of it must come from the weights."""

from pathlib import Path

from paddle import nn

from mae_core import log
from mae_core.errors import CheckpointError, ConfigError
from mae_core.weights.checkpoint_folder import STATE
from mae_core.weights.load import load_pretrained
from mae_core.weights.report import KeyReport
from mae_core.weights.sources import find_file


def require_weights(pretrained: str | None, command: str = "-eval") -> str:
    """Return what MODEL.PRETRAINED names if something is there; verified and read it is later.

    Raises:
        ConfigError: no weights are named.
        CheckpointError: nothing is there.
    """
    if not pretrained:
        raise ConfigError(f"{command} needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    path = Path(pretrained)
    if not ((path / "checkpoints").is_dir() or (path / STATE).exists()):
        find_file(path)
    return pretrained


def load_classifier(
    model: nn.Layer,
    pretrained: str | None,
    *,
    num_classes: int,
    global_pool: bool,
    train_first: str,
    command: str = "-eval",
    head: str | None = None,
    free: tuple[str, ...] = (),
) -> KeyReport:
    """Load all of a model from weights of any source and log the report on its keys.

    Args:
        num_classes, global_pool, head, train_first, command: for messages; what to do first, as in "fine-tune it".
        free: beginnings of the names that the weights may lack.

    Returns:
        the report.

    Raises:
        ConfigError: no weights are named.
        CheckpointError: something of the model is not in the file: a score of initial values means nothing.
    """
    report = load_pretrained(model, require_weights(pretrained, command))
    missing = [name for name in report.missing if not name.startswith(free)]
    if missing:
        raise CheckpointError(
            f"{report.file} has no {', '.join(missing)} that fits MODEL.NUM_CLASSES={num_classes}"
            f" and MODEL.GLOBAL_POOL={global_pool}{f' and MODEL.HEAD={head}' if head else ''}: {train_first} first,"
            " or set these as they were"
        )
    for line in report.lines():
        log.LOGGER.info(line)
    return report
