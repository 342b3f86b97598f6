"""The learning rate of the two stages: the heads alone, then the encoder too."""

from dataclasses import dataclass

from mae_core.training.optim import warmup_cosine


@dataclass(frozen=True)
class TwoStages:
    """Linear warm-up and half a cosine, twice.

    Args:
        heads_epochs: epochs of the first stage.
        epochs: of both together.
        heads_lr, lr: peaks.
        min_lr: value at the end of each stage.
        warmup_epochs: of each stage; at most half of it.
        warmup_start_lr: value at the start of each stage.
    """

    heads_epochs: float
    epochs: float
    heads_lr: float
    lr: float
    min_lr: float = 0.0
    warmup_epochs: float = 4
    warmup_start_lr: float = 0.0

    def heads_alone(self, epoch: float) -> bool:
        """Return whether a (fractional) epoch is of the first stage."""
        return epoch < self.heads_epochs

    def lr_at(self, epoch: float) -> float:
        """Return the learning rate at a fractional epoch."""
        first = self.heads_alone(epoch)
        length = self.heads_epochs if first else self.epochs - self.heads_epochs
        return warmup_cosine(
            epoch if first else epoch - self.heads_epochs,
            lr=self.heads_lr if first else self.lr,
            min_lr=self.min_lr,
            warmup_epochs=min(self.warmup_epochs, length / 2),
            epochs=length,
            warmup_start_lr=self.warmup_start_lr,
        )
