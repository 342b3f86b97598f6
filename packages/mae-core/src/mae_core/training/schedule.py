"""Learning-rate schedule: linear warm-up, then half a cosine (paper Tables 8 to 11)."""

import math


def scaled_lr(base_lr: float, batch_size: int, per: int | None = 256) -> float:
    """Scale the base learning rate by the effective batch, `base_lr * batch_size / per` (Goyal et al.).

    With `per` None (or 0) the base learning rate is the learning rate itself.

    Examples:
        >>> scaled_lr(1.5e-4, 4096)
        0.0024
    """
    return base_lr * batch_size / per if per else base_lr


def warmup_cosine(
    epoch: float,
    *,
    lr: float,
    min_lr: float,
    warmup_epochs: float,
    epochs: float,
    warmup_start_lr: float = 0.0,
) -> float:
    """Return the learning rate at a fractional epoch.

    Args:
        epoch: position, step / steps_per_epoch. Steps are whole ones: where accumulation does not divide an epoch's
            batches, the official scripts, which count batches of len(loader), stand up to 0.15 epochs elsewhere with
            20 batches, and their learning rate was up to 0.23 of the peak another.
        lr: peak, reached when the warm-up ends.
        min_lr: value at the last epoch.

    Examples:
        >>> [round(warmup_cosine(e, lr=1.0, min_lr=0.0, warmup_epochs=10, epochs=110), 3) for e in (0, 5, 10, 60, 110)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if epoch < warmup_epochs:
        return warmup_start_lr + (lr - warmup_start_lr) * epoch / warmup_epochs
    progress = min(1.0, (epoch - warmup_epochs) / max(epochs - warmup_epochs, 1e-12))
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))
