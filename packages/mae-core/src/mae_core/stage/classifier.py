"""A classifier to score: all of it must come from the weights."""

from collections.abc import Mapping

from paddle import nn

from mae_core.errors import CheckpointError, ConfigError
from mae_core.process import log
from mae_core.weights.key_report import KeyReport
from mae_core.weights.load import fit_weights
from mae_core.weights.sources import Weights


def require_weights(weights: Weights | None, command: str = "-eval") -> Weights:
    """Return the weights.

    Raises:
        ConfigError: MODEL.PRETRAINED names none.
    """
    if weights is None:
        raise ConfigError(f"{command} needs weights: -pretrained RUN_FOLDER, a checkpoint folder or a weight file")
    return weights


def load_classifier(
    model: nn.Layer,
    weights: Weights | None,
    *,
    settings: Mapping[str, object],
    remedy: str,
    command: str = "-eval",
    free: tuple[str, ...] = (),
) -> KeyReport:
    """Load all of a model from opened weights and log the report on its keys.

    Args:
        weights: what MODEL.PRETRAINED names.
        settings: the config keys that the head is built by and their values, for messages.
        remedy: what to do about weights without a head, for messages.
        command: what needs the weights, for messages.
        free: beginnings of the names that the weights may lack.

    Returns:
        the report on the keys.

    Raises:
        ConfigError: no weights are named.
        CheckpointError: something of the model is not in the file: a score of initial values means nothing.
    """
    report = fit_weights(model, require_weights(weights, command))
    missing = [name for name in report.missing if not name.startswith(free)]
    if missing:
        fitting = " and ".join(f"{key}={value}" for key, value in settings.items())
        raise CheckpointError(
            f"{report.file} has no {', '.join(missing)} that fits {fitting}: {remedy}, or set these as they were"
        )
    for line in report.lines():
        log.LOGGER.info(line)
    return report
