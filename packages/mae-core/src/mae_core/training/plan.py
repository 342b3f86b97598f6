"""What a stage gives the loop to go by: how long a run trains, how often it reports and saves, what a batch holds."""

from dataclasses import dataclass
from typing import Protocol

from paddle import Tensor

from mae_core.process import distributed


@dataclass(frozen=True)
class Plan:
    """How long and how often.

    Args:
        steps_per_epoch, total_steps: optimizer steps.
        batch_size: images per rank and forward pass.
        accum_iter: forward passes per step on each rank; their losses are averaged.
        clip_grad: largest gradient norm, or None.
        report_freq, save_freq: steps between log lines and between checkpoints; a validation makes one too.
        keep: checkpoints to keep, beside the best one.
        max_bad_steps: steps in a row with a NaN or infinite gradient (skipped) before the run ends.
    """

    steps_per_epoch: int
    total_steps: int
    batch_size: int = 1
    accum_iter: int = 1
    clip_grad: float | None = None
    seed: int = 0
    report_freq: int = 20
    save_freq: int = 1000
    keep: int = 2
    max_bad_steps: int = 20

    @property
    def epochs(self) -> float:
        """Epochs of the whole run, the last perhaps in part."""
        return self.total_steps / self.steps_per_epoch

    @property
    def global_batch(self) -> int:
        """Images per step over all ranks and accumulated forward passes."""
        return self.batch_size * self.accum_iter * distributed.world_size()


class Samples(Protocol):
    """Samples of one forward pass on one rank.

    Attributes:
        images: what the model takes, one entry per image: uint8 [N, H, W, C], or cached features [N, D].
        labels: int64 [N].
        indices: int64 [N], the images' places in their list.
    """

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def indices(self) -> Tensor: ...
