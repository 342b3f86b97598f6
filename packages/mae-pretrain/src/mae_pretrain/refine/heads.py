"""What contrasts the samples on the output of one block: projector, predictor and queue."""

from dataclasses import dataclass

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.ops.layers import Linear
from mae_core.process import distributed
from mae_pretrain.refine.batch_norm import BatchNorm
from mae_pretrain.refine.loss import neighbour_contrast
from mae_pretrain.refine.neighbours import NOBODY, draw_neighbours, pushed


@dataclass(frozen=True)
class HeadSettings:
    """What all heads have alike.

    Args:
        out_dim: width D of a projection.
        projector_dim, predictor_dim: hidden widths.
        queue: projections that are remembered.
        neighbours: how many of the most similar ones a neighbour is drawn from.
        temperature: see `neighbour_contrast`.
    """

    out_dim: int = 256
    projector_dim: int = 2048
    predictor_dim: int = 4096
    queue: int = 65536
    neighbours: int = 20
    temperature: float = 0.2


class ContrastHead(nn.Layer):
    """Projector, predictor, and the projections of the samples that came before.

    Args:
        dim: width of the tokens.
    """

    def __init__(self, dim: int, settings: HeadSettings) -> None:
        super().__init__()
        self.settings = s = settings
        # No bias before a batch norm, which takes it away.
        self.projector = nn.Sequential(
            *(Linear(dim, s.projector_dim, bias=False), BatchNorm(), nn.GELU()),
            *(Linear(s.projector_dim, s.projector_dim, bias=False), BatchNorm(), nn.GELU()),
            *(Linear(s.projector_dim, s.out_dim, bias=False), BatchNorm()),
        )
        self.predictor = nn.Sequential(
            *(Linear(s.out_dim, s.predictor_dim, bias=False), BatchNorm(), nn.GELU()),
            *(Linear(s.predictor_dim, s.out_dim, bias=False), BatchNorm()),
        )
        self.register_buffer("queue", paddle.zeros([s.queue, s.out_dim]))
        self.register_buffer("queued", paddle.full([s.queue], NOBODY, "int64"))

    def forward(self, views: list[Tensor], numbers: Tensor, uniform: Tensor) -> Tensor:
        """Contrast the views of a batch's samples; then the projections of the first view enter the queue.

        Args:
            views: V tensors [N, dim], the token of each of this rank's samples in each view.
            numbers: int64 [N], the samples' numbers in their list.
            uniform: float64 [V, N] in [0, 1), which decide the neighbours.

        Returns:
            scalar, the sum over the pairs of views i != j of the contrast of i's neighbours with j's predictions.
        """
        projected = [self.projector(tokens) for tokens in views]
        predicted = [self.predictor(each).astype("float32") for each in projected]
        with paddle.amp.auto_cast(enable=False):  # cosines of rounded vectors would tie
            return self._contrast([each.detach() for each in projected], predicted, numbers, uniform)

    def _contrast(self, projected: list[Tensor], predicted: list[Tensor], numbers: Tensor, uniform: Tensor) -> Tensor:
        z = [F.normalize(each, axis=1) for each in projected]
        everyone = [distributed.concat_over_ranks(each) for each in z]
        first, total = distributed.rank() * len(numbers), paddle.zeros([])
        for i, own in enumerate(z):
            neighbours = draw_neighbours(own, numbers, self.queue, self.queued, self.settings.neighbours, uniform[i])
            for j, p in enumerate(predicted):
                if i != j:
                    total = total + neighbour_contrast(neighbours, everyone[i], p, self.settings.temperature, first)
        self.queue.set_value(pushed(self.queue, everyone[0]))
        self.queued.set_value(pushed(self.queued, distributed.concat_over_ranks(numbers)))
        return total
