"""The probe: a frozen ViT under a trainable head."""

from typing import Any

import paddle
from paddle import Tensor

from mae_core.models import VisionTransformer
from mae_probe.heads import HEADS

HEAD_STD = 0.01


class LinearProbe(VisionTransformer):
    """A frozen encoder under a trainable head (paper section 4.1, Table 10).

    Args:
        num_classes: outputs of the head.
        global_pool: probe the mean of the patch tokens instead of the class token.
        head: one of `heads.HEADS`; "attentive" reads the patch tokens after the last norm, so global_pool is False.
        num_queries: of the attentive head.
        depth: blocks of the encoder.
        block: the one whose tokens the head reads, by its number from 0, or from the end if negative; those after it
            are left out.
        kwargs: see `ViTEncoder`.

    Raises:
        ValueError: the head does not fit the encoder.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        global_pool: bool = False,
        head: str = "linear",
        num_queries: int = 32,
        depth: int = 12,
        block: int = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes=num_classes, global_pool=global_pool, head_init_std=HEAD_STD, depth=block % depth + 1, **kwargs
        )
        self.later_blocks = depth - len(self.blocks)
        for parameter in self.parameters():
            parameter.stop_gradient = True
        for parameter in self.head.parameters():
            parameter.stop_gradient = False
        self.takes_tokens = HEADS[head].takes_tokens
        if self.takes_tokens and global_pool:
            raise ValueError(f"the {head} head pools patch tokens itself; set global_pool to False")
        self.head = HEADS[head].build(self.head, self.embed_dim, num_queries)

    def train(self) -> None:
        """Put the head into training mode; the encoder stays in evaluation mode."""
        super().train()
        for name, layer in self.named_children():
            if name != "head":
                layer.eval()

    @paddle.no_grad()
    def forward_features(self, images: Tensor) -> Tensor:
        """Encode images (uint8 [N, H, W, C] or float [N, C, H, W]) to float32 features [N, D], without gradient."""
        return super().forward_features(images).astype("float32")

    @paddle.no_grad()
    def forward_tokens(self, images: Tensor) -> Tensor:
        """Encode images to their patch tokens after the last norm, float32 [N, L, D], without gradient."""
        return self.norm(self.encode(self.normalize(self.patchify(images))))[:, 1:].astype("float32")

    def head_inputs(self, images: Tensor) -> Tensor:
        """Encode images to what the head reads: tokens [N, L, D] or features [N, D]."""
        return self.forward_tokens(images) if self.takes_tokens else self.forward_features(images)

    def forward(self, inputs: Tensor) -> Tensor:
        """Classify images, or their `head_inputs` -> logits [N, num_classes]."""
        return self.head(inputs if inputs.ndim < 4 else self.head_inputs(inputs))
