"""`mae-finetune -eval`: score a model on a test set, exactly, over any number of ranks."""

import time
from collections.abc import Callable

from paddle import nn

from mae_core.evaluation.classifier import Counts, prepare_report
from mae_core.process import distributed, log
from mae_core.stage.classifier import require_weights
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import precision_of
from mae_core.stage.config.to_data_arguments import eval_sampling_of, loading_of
from mae_core.training.precision import Precision
from mae_core.weights.sources import Weights
from mae_data.loading.loader import make_loader
from mae_data.loading.sampler import EvalBatchSampler
from mae_finetune.build import build_model, load_for_evaluation, refuse_other_task
from mae_finetune.tasks import task_of
from mae_finetune.tasks.task import Evaluation


def evaluate(config: Config, weights: Weights | None) -> dict[str, float]:
    """Score weights on the validation list and write the tables to `SAVE/eval`.

    Args:
        weights: of MODEL.PRETRAINED; None where it names none.

    Returns:
        the figures of the task, by name; see its `Evaluation.report`.
    """
    distributed.init()
    log.setup(distributed.is_main())
    weights = require_weights(weights)
    refuse_other_task(config, weights)  # before the list, which may be one of the other task
    model = build_model(config)
    evaluation = task_of(config).open_evaluation(config)
    log.log_lines(evaluation.dataset.images.notes)
    load_for_evaluation(config, weights, model)
    model.eval()
    prepare_report(config.SAVE)
    started = time.perf_counter()
    counts = score(config, model, evaluation, precision_of(config))
    assert counts is not None  # nothing asked it to stop early
    return evaluation.report(counts, time.perf_counter() - started, config.SAVE)


def score(
    config: Config,
    model: nn.Layer,
    evaluation: Evaluation,
    precision: Precision,
    should_stop: Callable[[], bool] = lambda: False,
) -> Counts | None:
    """Score a model in evaluation mode; None when any rank was asked to stop early."""
    sampler = EvalBatchSampler(len(evaluation.dataset), **eval_sampling_of(config))
    batches = make_loader(evaluation.dataset, sampler, **loading_of(config), stop=should_stop)
    return evaluation.score(model, batches, precision, should_stop)
