"""The heads of a segmentation model: UPerNet, and a small one for few images.

UPerNet (Xiao et al., arXiv 1807.10221) is the head of MAE's ADE20K results (paper section 5 and appendix A.4).
"""

import warnings
from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_finetune.segmentation.resampling import pool, resize

# Paddle says at each batch norm's first pass that it does what every batch norm does.
warnings.filterwarnings("ignore", "When training, we now always track global mean and variance")

AUXILIARY_CHANNELS = 256  # of mmsegmentation's MAE recipe
BINS = (1, 2, 3, 6)  # rows and columns of pooled parts


def conv_norm_relu(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """Return a convolution without bias, batch norm and ReLU; [N, C, H, W] keeps H and W."""
    return nn.Sequential(
        nn.Conv2D(in_channels, channels, kernel, padding=kernel // 2, bias_attr=False),
        nn.BatchNorm2D(channels),
        nn.ReLU(),
    )


class FeaturePyramid(nn.Layer):
    """Bring the tokens of four blocks to strides of a quarter, a half, one and two patches.

    A ViT has one resolution; with patches of 16 these are strides 4, 8, 16 and 32, as BEiT's transfer has them
    (Bao et al., arXiv 2106.08254), which MAE's follows.

    Args:
        dim: D of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.four_times = nn.Sequential(
            nn.Conv2DTranspose(dim, dim, 2, stride=2), nn.BatchNorm2D(dim), nn.GELU(),
            nn.Conv2DTranspose(dim, dim, 2, stride=2),
        )  # fmt: skip
        self.twice = nn.Conv2DTranspose(dim, dim, 2, stride=2)

    def forward(self, planes: Sequence[Tensor]) -> list[Tensor]:
        """Turn four [N, D, rows, columns] into a pyramid, the finest first."""
        finest, fine, same, coarse = planes
        return [self.four_times(finest), self.twice(fine), same, F.max_pool2d(coarse, 2, ceil_mode=True)]


class PyramidPooling(nn.Layer):
    """Means over parts of the coarsest plane, beside it (Zhao et al., arXiv 1612.01105)."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.parts = nn.LayerList([conv_norm_relu(dim, channels, 1) for _ in BINS])
        self.fusion = conv_norm_relu(dim + len(BINS) * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Turn [N, D, h, w] into [N, channels, h, w]."""
        means = [part(pool(x, side)) for side, part in zip(BINS, self.parts, strict=True)]
        return self.fusion(paddle.concat([x, *(resize(mean, x.shape[2:]) for mean in means)], axis=1))


class UPerNet(nn.Layer):
    """A class for each pixel of the finest plane of a pyramid.

    Args:
        dim: channels of each of the four planes.
        num_classes: K.
        channels: inner channels, 512 in the paper.
        dropout: before the last layer.
    """

    def __init__(self, dim: int, num_classes: int, channels: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.pooling = PyramidPooling(dim, channels)
        self.lateral = nn.LayerList([conv_norm_relu(dim, channels, 1) for _ in range(3)])
        self.smooth = nn.LayerList([conv_norm_relu(channels, channels, 3) for _ in range(3)])
        self.fusion = conv_norm_relu(4 * channels, channels, 3)
        self.dropout = nn.Dropout2D(dropout)
        self.classifier = nn.Conv2D(channels, num_classes, 1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Turn four planes [N, D, h, w], the finest first, into logits [N, K, h, w] of the finest."""
        above = self.pooling(pyramid[-1])
        levels = [above]
        for plane, lateral in zip(pyramid[-2::-1], list(self.lateral)[::-1], strict=True):
            above = lateral(plane) + resize(above, plane.shape[2:])
            levels.insert(0, above)
        smoothed = [smooth(level) for smooth, level in zip(self.smooth, levels[:-1], strict=True)]
        size = smoothed[0].shape[2:]
        fused = self.fusion(paddle.concat([resize(level, size) for level in (*smoothed, levels[-1])], axis=1))
        return self.classifier(self.dropout(fused))


class PyramidHead(nn.Layer):
    """UPerNet on the pyramid of a ViT's tokens, and in training a small auxiliary head on its third plane.

    Args:
        dim: D of the tokens.
        num_classes: K.
        channels: inner channels of UPerNet.
    """

    def __init__(self, dim: int, num_classes: int, channels: int = 512) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(dim)
        self.upernet = UPerNet(dim, num_classes, channels)
        self.auxiliary = nn.Sequential(
            conv_norm_relu(dim, AUXILIARY_CHANNELS, 3), nn.Dropout2D(0.1), nn.Conv2D(AUXILIARY_CHANNELS, num_classes, 1)
        )

    def forward(self, planes: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Turn four planes [N, D, rows, columns] into logits; in training, a list of both heads'."""
        pyramid = self.pyramid(planes)
        logits: Tensor = self.upernet(pyramid)
        return [logits, self.auxiliary(pyramid[2])] if self.training else logits


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
