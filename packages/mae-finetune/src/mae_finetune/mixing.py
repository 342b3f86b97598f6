"""A training batch mixed by mixup or cutmix, its soft targets, and their cross-entropy."""

from collections.abc import Sequence
from dataclasses import dataclass

from paddle import Tensor
from paddle.nn import functional as F

from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import statistics_of
from mae_data.transforms.mix_on_device import mix_images, normalize_images, soft_targets
from mae_data.transforms.mixup import Mixture, Mixup, draw_mixture, mixing_rng


@dataclass(frozen=True)
class BatchMixer:
    """How images are mixed and labels softened.

    Args:
        mixup: what to draw.
        smoothing: label smoothing, of each image's whole weight.
        mean, std: statistics that the model normalises with.
        value_range: of the images; see `ListDataset`.
        class_weights: float32 [num_classes], what each class counts; None: all alike.
    """

    mixup: Mixup
    num_classes: int
    smoothing: float
    mean: Sequence[float]
    std: Sequence[float]
    seed: int
    value_range: float | Sequence[float] = 255
    class_weights: Tensor | None = None

    def __call__(self, images: Tensor, labels: Tensor, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Mix a batch; the draw is a function of (seed, epoch, number of the first sample) alone.

        Args:
            images: [N, H, W, C], as the loader gives them.
            labels: int64 [N], or rows of several labels, float32 [N, num_classes].
            indices: int64 [N].

        Returns:
            images for the model (float32 [N, C, H, W] normalised; those of floats, and all where nothing is
            mixed, as stored) and targets float32 [N, num_classes].
        """
        if not self.mixup.enabled:
            return images, self._targets(labels)
        rng = mixing_rng(self.seed, epoch, int(indices[0]))
        mixture = draw_mixture(self.mixup, len(labels), (images.shape[1], images.shape[2]), rng)
        if isinstance(self.value_range, list | tuple):  # the model normalises floats
            mixed = mix_images(images, mixture, channels_last=True)
        else:
            mixed = mix_images(normalize_images(images, self.mean, self.std, self.value_range), mixture)
        return mixed, self._targets(labels, mixture)

    def _targets(self, labels: Tensor, mixture: Mixture | None = None) -> Tensor:
        """Return soft targets; weighted ones sum to what the image counts for.

        Weights go before smoothing: after it, what it gives to a rare class would count as much as the label.
        """
        if self.class_weights is None:
            return soft_targets(labels, self.num_classes, smoothing=self.smoothing, mixture=mixture)
        weighted = soft_targets(labels, self.num_classes, mixture=mixture) * self.class_weights
        spread = weighted.sum(axis=-1, keepdim=True) / self.num_classes
        return (1 - self.smoothing) * weighted + self.smoothing * spread


def mixer_of(config: Config, class_weights: Tensor | None = None) -> BatchMixer:
    """Read how a run mixes its batches.

    Args:
        class_weights: float32 [K]; None: all count alike.
    """
    t, (mean, std) = config.TRAIN, statistics_of(config)
    mixup = Mixup(t.MIXUP_ALPHA, t.CUTMIX_ALPHA, t.MIXUP_PROB, t.MIXUP_SWITCH_PROB, t.MIXUP_MODE)
    return BatchMixer(
        mixup, config.MODEL.NUM_CLASSES, t.SMOOTHING, mean, std, config.SEED, config.DATA.VALUE_RANGE, class_weights
    )


def soft_target_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over samples of -sum(targets * log softmax(logits)), in float32.

    Args:
        logits: [N, K].
        targets: float32 [N, K], each row sums to what its image counts for, such as one.
    """
    return -(targets * F.log_softmax(logits.astype("float32"), axis=-1)).sum(axis=-1).mean()
