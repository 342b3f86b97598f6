"""`mae-probe -eval`: score a probe on the validation list, exactly, over any number of ranks."""

import time
from collections.abc import Callable, Sequence

from mae_core.evaluation.classifier import prepare_report, report_scores, score_batches
from mae_core.evaluation.scores import Scores
from mae_core.process import distributed, log
from mae_core.stage.classifier import require_weights
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import precision_of
from mae_core.stage.config.to_data_arguments import eval_sampling_of, loading_of
from mae_core.weights.sources import Weights
from mae_data.loading.dataset import ListDataset
from mae_data.loading.image_windows import ImageWindows
from mae_data.loading.loader import BatchLoader, make_loader
from mae_data.loading.sampler import EvalBatchSampler
from mae_probe.build import build_model, eval_dataset, load_probe


def evaluate(config: Config, weights: Weights | None) -> dict[str, float]:
    """Score weights on the validation list and write the tables to `SAVE/eval`.

    Args:
        weights: of MODEL.PRETRAINED; None where it names none.

    Returns:
        what `report_scores` does.
    """
    distributed.init()
    log.setup(distributed.is_main())
    weights, model = require_weights(weights), build_model(config)
    dataset = eval_dataset(config, config.DATA.VAL_LIST)
    log.log_lines(dataset.images.notes)
    load_probe(config, weights, model)
    model.eval()
    prepare_report(config.SAVE)
    batches, precision = eval_batches(config, dataset), precision_of(config)
    images, started = dataset.images, time.perf_counter()
    counts = Scores(config.MODEL.NUM_CLASSES, len(images))
    scores = score_batches(model, batches, counts, precision, name=images.describe)
    assert scores is not None  # nothing asked it to stop early
    seconds, folders = time.perf_counter() - started, images.class_folders()
    return report_scores(scores, seconds, config.SAVE, folders, path=images.path)


def eval_batches(
    config: Config,
    dataset: ListDataset | ImageWindows,
    should_stop: Callable[[], bool] = lambda: False,
    rows: Sequence[int] | None = None,
) -> BatchLoader:
    """Load this rank's share of a list, in order, each image once.

    Args:
        rows: the places in the list of the images that are loaded; None: of all.
    """
    sampler = EvalBatchSampler(len(dataset if rows is None else rows), **eval_sampling_of(config))
    batches = sampler if rows is None else [[(epoch, rows[i]) for epoch, i in keys] for keys in sampler]
    return make_loader(dataset, batches, **loading_of(config), stop=should_stop)
