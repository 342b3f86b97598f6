"""`mae-probe -eval`: score a probe on the validation list, exactly, over any number of ranks."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

from mae_core import distributed, log
from mae_core.atomic import write_atomic
from mae_core.config import Config
from mae_core.errors import NonFiniteError, UserError
from mae_core.precision import Precision
from mae_data.dataset import ListDataset
from mae_data.loader import BatchLoader, make_loader
from mae_data.sampler import EvalBatchSampler
from mae_probe.build import build_model, eval_dataset, load_probe


def evaluate(config: Config) -> dict[str, float]:
    """Score MODEL.PRETRAINED on the validation list and write `SAVE/eval/scores.json`.

    Returns:
        top1, top5 (percent), val_loss, images, images_per_s.
    """
    distributed.init()
    log.setup(distributed.is_main())
    model = build_model(config)
    load_probe(config, model)
    model.eval()
    dataset = eval_dataset(config, config.DATA.VAL_LIST)
    precision = Precision(config.AMP, config.AMP_DTYPE, log.LOGGER.info)
    started = time.perf_counter()
    figures = score(model, eval_batches(config, dataset), precision)
    assert figures is not None  # nothing asked it to stop early
    figures["images_per_s"] = figures["images"] / (time.perf_counter() - started)
    if distributed.is_main():
        _write(Path(config.SAVE) / "eval", figures)
    log.LOGGER.info(
        f"{figures['images']:.0f} images: top-1 {figures['top1']:.2f} top-5 {figures['top5']:.2f}"
        f" loss {figures['val_loss']:.4f}; {figures['images_per_s']:.0f} images/s; figures in {config.SAVE}/eval"
    )
    return figures


def _write(folder: Path, figures: dict[str, float]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "scores.json", (json.dumps(figures, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another with -output") from None


def eval_batches(config: Config, dataset: ListDataset) -> BatchLoader:
    """Load this rank's share of a list, in order, each image once."""
    sampler = EvalBatchSampler(
        len(dataset),
        int(config.DATA.BATCH_SIZE_EVAL or config.DATA.BATCH_SIZE),
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    return make_loader(dataset, sampler, num_workers=config.DATA.NUM_WORKERS)


@paddle.no_grad()
def score(
    model: nn.Layer,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    precision: Precision,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Score a model in evaluation mode; None when any rank was asked to stop early.

    Args:
        batches: (images or features, labels int64 [N], indices).

    Returns:
        top1, top5 (percent), val_loss (mean cross-entropy) and images, over all ranks.
    """
    sums, stopped = np.zeros(4), False
    for inputs, labels, _ in batches:
        if stopped := should_stop():
            break
        with precision.autocast():
            logits = model(inputs).astype("float32").numpy()
        if not np.isfinite(logits).all():
            raise NonFiniteError("the model's output is not finite; the weights are damaged, or -amp overflows")
        sums += _sums(logits.astype(np.float64), labels.numpy())
    if distributed.sum_over_ranks([float(stopped)])[0]:
        return None
    top1, top5, loss, images = distributed.sum_over_ranks(sums.tolist())
    n = max(1.0, images)
    return {"top1": 100.0 * top1 / n, "top5": 100.0 * top5 / n, "val_loss": loss / n, "images": images}


def _sums(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return hits, hits among the five likeliest, summed cross-entropy and images of a batch."""
    own = logits[np.arange(len(labels)), labels][:, None]
    # Ties go to the lower class.
    tied_before = (logits == own) & (np.arange(logits.shape[1]) < labels[:, None])
    rank = ((logits > own) | tied_before).sum(axis=1)
    highest = logits.max(axis=1, keepdims=True)
    loss = (highest + np.log(np.exp(logits - highest).sum(axis=1, keepdims=True)) - own).sum()
    return np.array([(rank == 0).sum(), (rank < 5).sum(), loss, len(labels)], dtype=np.float64)
