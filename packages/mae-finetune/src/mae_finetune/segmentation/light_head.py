"""A small head for few images: one linear layer on the tokens of all chosen blocks, and a 3 x 3 convolution."""

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn

from mae_finetune.segmentation.resampling import resize
from mae_finetune.segmentation.upernet import conv_norm_relu


class LightHead(nn.Layer):
    """A class for each half of a patch's side: far fewer weights than UPerNet.

    Args:
        dim: D of the tokens.
        num_blocks: how many blocks give tokens.
        num_classes: K.
        channels: inner channels.
        dropout: before the last layer.
    """

    def __init__(self, dim: int, num_blocks: int, num_classes: int, channels: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.project = conv_norm_relu(num_blocks * dim, channels, 1)
        self.smooth = conv_norm_relu(channels, channels, 3)
        self.dropout = nn.Dropout2D(dropout)
        self.classifier = nn.Conv2D(channels, num_classes, 1)

    def forward(self, planes: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Turn planes [N, D, rows, columns] into logits [N, K, 2 rows, 2 columns]; in training, a list of them."""
        x = self.project(paddle.concat(list(planes), axis=1))
        logits: Tensor = self.classifier(self.dropout(self.smooth(resize(x, [2 * side for side in x.shape[2:]]))))
        return [logits] if self.training else logits
