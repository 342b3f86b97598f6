"""The loss of a training batch of images and masks, over any number of ranks."""

import numpy as np
import paddle
from paddle import Tensor, nn

from mae_core.process import distributed
from mae_core.training.plan import Samples
from mae_finetune.segmentation.model import training_loss

_STATISTICS = ("._mean", "._variance")


def segment_loss(ignore: int, model: nn.Layer, batch: Samples, epoch: int) -> tuple[Tensor, dict[str, float]]:
    """Score a model in training on a batch, pixels of the value `ignore` left out."""
    loss = training_loss(model(batch.images), batch.labels, ignore)
    share_statistics(model)
    return loss, {}


@paddle.no_grad()
def share_statistics(model: nn.Layer) -> None:
    """Give the batch norms of all ranks the mean of their running statistics, so that every rank scores one model."""
    if distributed.world_size() == 1:
        return
    buffers = [value for name, value in model.state_dict().items() if name.endswith(_STATISTICS)]
    flat = np.concatenate([buffer.numpy().ravel() for buffer in buffers])
    mean = distributed.sum_array(flat) / np.float32(distributed.world_size())
    ends = np.cumsum([buffer.size for buffer in buffers])
    for buffer, values in zip(buffers, np.split(mean, ends[:-1].tolist()), strict=True):
        buffer.set_value(values.reshape(buffer.shape).astype(np.float32))
