"""Encode the lists of a config with its pre-trained encoder: what `features`, `knn` and `logistic` begin with."""

from collections.abc import Sequence

from mae_core import distributed, log
from mae_core.config import Config
from mae_core.errors import UserError
from mae_core.stage.arguments import precision_of
from mae_probe.build import build_model, eval_dataset, load_encoder
from mae_probe.feature_set import Features, encode


def encode_lists(config: Config, list_names: Sequence[str], command: str, labels: str = "required") -> list[Features]:
    """Encode lists with MODEL.PRETRAINED as in evaluation, without augmentation.

    Args:
        list_names: files, relative to DATA.DATA_PATH.
        command: for error messages.
        labels: "required" or "optional".

    Raises:
        UserError: started on several ranks, no weights, or wrong ones.
    """
    if distributed.world_size() > 1:
        raise UserError(f"{command} runs on one process: start it without other ranks")
    log.setup(True)
    datasets = [eval_dataset(config, name, labels) for name in list_names]
    log.say(note for dataset in datasets for note in dataset.images.notes)
    model = build_model(config)
    load_encoder(config, model, command)
    model.eval()
    precision = precision_of(config)
    return [encode(config, model.forward_features, dataset, precision) for dataset in datasets]
