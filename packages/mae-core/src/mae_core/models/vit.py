"""Vision Transformer for fine-tuning, probing and features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paddle import Tensor, nn

from mae_core.epsilons import LN_EPS
from mae_core.models.encoder import EncoderOptions, ViTEncoder
from mae_core.ops.layers import LayerNorm, Linear

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ClassifierOptions(EncoderOptions, total=False):
    """Arguments of `VisionTransformer`."""

    num_classes: int
    global_pool: bool
    head_init_std: float
    class_names: Sequence[str] | None


class VisionTransformer(ViTEncoder):
    """ViT classifier (paper section 4.1 and A.1).

    Args:
        num_classes: outputs of the head; 0 leaves the head out.
        global_pool: average the patch tokens and apply `fc_norm` (fine-tuning), or take the class
            token after `norm` (linear probing).
        head_init_std: standard deviation of the head's weights, 2e-5 for fine-tuning, 0.01 for probing.
        class_names: a name for each output, which weight files keep; None where nobody knows them.
        kwargs: see `ViTEncoder`.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        global_pool: bool = True,
        head_init_std: float = 2.0e-5,
        class_names: Sequence[str] | None = None,
        **kwargs: Unpack[EncoderOptions],
    ) -> None:
        super().__init__(trainable_pos=True, **kwargs)
        self.global_pool = global_pool
        self.num_classes = num_classes
        self.name_classes(class_names)
        if global_pool:
            self.fc_norm = LayerNorm(self.embed_dim, epsilon=LN_EPS)
            self.norm = nn.Identity()  # the pooled features have their own norm
        self.head = Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
        if num_classes:
            # A plain normal: timm's and the official truncated one cuts at plus and minus 2, so never at this scale.
            # Paddle 2 cuts its own at two deviations, which then has 0.88 of the deviation that was asked for.
            nn.initializer.Normal(std=head_init_std)(self.head.weight)

    def name_classes(self, names: Sequence[str] | None) -> None:
        """Name the outputs, or take the names away.

        Raises:
            ValueError: there are more or fewer names than outputs.
        """
        if names is not None and len(names) != self.num_classes:
            raise ValueError(f"{len(names)} class names for {self.num_classes} outputs; give one each")
        self.class_names = None if names is None else list(names)

    def forward_features(self, images: Tensor) -> Tensor:
        """Encode images ([N, H, W, C] as stored or normalised [N, C, H, W]) to pooled features [N, D]."""
        x = self.norm(self.encode(self.normalize(self.patchify(images))))  # [N, 1 + L, D]
        return self.fc_norm(x[:, 1:].mean(axis=1)) if self.global_pool else x[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        """Classify images ([N, H, W, C] as stored or normalised [N, C, H, W]) -> logits [N, num_classes]."""
        return self.head(self.forward_features(images))
