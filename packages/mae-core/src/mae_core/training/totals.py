"""What one optimizer step adds up: over its forward passes, then over ranks."""

from dataclasses import dataclass, field

from mae_core.process import distributed
from mae_core.process.signals import Stop


@dataclass
class Totals:
    """Sums over the forward passes of one step: of this rank, then of all.

    Attributes:
        loss: mean over passes, and over ranks.
        metrics: what the stage's loss tells, averaged likewise.
        images: how many.
        waited: seconds without data, on this rank.
    """

    loss: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    images: float = 0.0
    waited: float = 0.0


def over_ranks(own: Totals, asked: Stop | None) -> tuple[Totals, Stop | None]:
    """Average losses and figures over ranks and add images; a signal to one rank stops them all."""
    world, names = distributed.world_size(), sorted(own.metrics)
    means = [own.loss / world, *(own.metrics[name] / world for name in names)]
    summed = distributed.sum_over_ranks([own.images, *means, *Stop.counts(asked)])
    images, loss, metrics = summed[0], summed[1], summed[2 : 2 + len(names)]
    totals = Totals(loss, dict(zip(names, metrics, strict=True)), images, own.waited)
    return totals, Stop.first(summed[2 + len(names) :])
