"""What is put on frozen patches to segment: nearest neighbours, or one linear layer.

The linear layer is trained as DINOv3 evaluates segmentation (Simeoni et al., arXiv 2508.10104).
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn
from paddle.nn import functional as F

from mae_core.errors import NonFiniteError
from mae_core.process import log
from mae_core.training.optim import warmup_cosine
from mae_probe.segmentation.patch_knn import MEMORY, NEIGHBOURS, TEMPERATURE, PatchMemory, class_shares

# Paddle says at each batch norm's first pass that it does what every batch norm does.
warnings.filterwarnings("ignore", "When training, we now always track global mean and variance")

Grid: TypeAlias = tuple[int, int]
Batches: TypeAlias = Callable[[], Iterable[tuple[NDArray[np.float32], NDArray[np.integer]]]]

EPOCHS, LR, BATCH = 20, 1e-3, 16
WEIGHT_DECAY, DROPOUT, STD = 1e-3, 0.1, 0.01
WARMUP = 1500 / 40_000  # share of the steps
MOST = 4 << 30  # bytes of patches that are kept in memory


class PatchHead(Protocol):
    """Learns from training patches what classes they show."""

    def fit(self, batches: Batches) -> None:
        """Learn.

        Args:
            batches: gives an iterator over the training set: patches [N, L, D] in image order, masks [N, H, W].
        """
        ...

    def predict(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score the classes of patches [N, L, D] -> [N, L, K]."""
        ...


class KnnHead:
    """Segmentation by the nearest training patches; see `PatchMemory`.

    Args:
        classes: K.
        ignore: value of the masks' pixels that do not count.
        grid: rows and columns of patches.
        images: how many training images there are.
        size: patches to keep at most.
        k, temperature: neighbours that vote, with weights softmax(cosine / temperature).
        seed: draws the patches that are kept.
        whiten: see `PatchMemory`.
    """

    def __init__(
        self,
        classes: int,
        ignore: int,
        grid: Grid,
        images: int,
        size: int = MEMORY,
        k: int = NEIGHBOURS,
        temperature: float = TEMPERATURE,
        seed: int = 0,
        whiten: bool = False,
    ) -> None:
        self._classes, self._ignore, self._grid = classes, ignore, grid
        self._k, self._temperature = k, temperature
        self.memory = PatchMemory(images, size, seed, whiten)

    def fit(self, batches: Batches) -> None:
        """Fill the memory."""
        for patches, masks in batches():
            for of_image, mask in zip(patches, masks, strict=True):
                self.memory.add(of_image, class_shares(mask, self._grid, self._classes, self._ignore))
        self.memory.finish()

    def predict(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what share of each class the neighbours of patches [N, L, D] give -> [N, L, K]."""
        shares = self.memory.classify(patches.reshape(-1, patches.shape[-1]), self._k, self._temperature)  # [N * L, K]
        return shares.reshape(*patches.shape[:2], self._classes)


class PatchClassifier(nn.Layer):
    """Batch norm, dropout of whole channels, 1x1 convolution from N(0, 0.01): patches [N, D, rows, columns] to logits.

    Args:
        dim: D.
        classes: K.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm2D(dim), nn.Dropout2D(DROPOUT)
        weights = paddle.ParamAttr(initializer=nn.initializer.Normal(std=STD))
        zeros = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
        self.conv = nn.Conv2D(dim, classes, 1, weight_attr=weights, bias_attr=zeros)

    def forward(self, patches: Tensor) -> Tensor:
        return self.conv(self.dropout(self.norm(patches)))  # [N, K, rows, columns]


def pixel_loss(logits: Tensor, masks: Tensor, ignore: int) -> Tensor:
    """Return the mean cross-entropy of logits [N, K, rows, columns] over the pixels of masks [N, H, W]."""
    full = F.interpolate(logits, masks.shape[1:], mode="bilinear", align_corners=False)  # [N, K, H, W]
    return F.cross_entropy(full, masks, axis=1, ignore_index=ignore)


class LinearHead:
    """A `PatchClassifier` and its training.

    DINOv3's recipe for linear segmentation: AdamW, learning rate 1e-3, weight decay 1e-3, batches of 16, warm-up over
    1,500 of 40,000 steps, here over the same share of the steps, then half a cosine; logits are brought to the mask's
    size bilinearly. Unlike there, images are seen whole and as they are, without crops, scales and flips, so that each
    is encoded once; a pass has as many steps as the set has batches, and their number is stated in passes.

    Args:
        classes: K.
        ignore: value of the masks' pixels that do not count.
        grid: rows and columns of patches.
        images: how many training images there are; where their patches are too many for the memory, as many as fit are
            drawn.
        epochs: passes over the training images.
        lr: highest learning rate.
        seed: of weights, dropout, order and of that draw.
    """

    def __init__(
        self, classes: int, ignore: int, grid: Grid, images: int, epochs: int = EPOCHS, lr: float = LR, seed: int = 0
    ) -> None:
        self._classes, self._ignore, self._grid, self._images = classes, ignore, grid, images
        self._epochs, self._lr, self._seed = epochs, lr, seed
        self.classifier: PatchClassifier | None = None

    def fit(self, batches: Batches) -> None:
        """Train.

        Raises:
            NonFiniteError: the loss became NaN or infinite.
        """
        rng = np.random.Generator(np.random.PCG64(self._seed))
        patches, masks = self._keep(batches, rng)
        paddle.seed(self._seed)
        self.classifier = PatchClassifier(patches.shape[-1], self._classes)
        optimizer = paddle.optimizer.AdamW(self._lr, weight_decay=WEIGHT_DECAY, parameters=self.classifier.parameters())
        each = -(-len(patches) // BATCH)
        steps = each * self._epochs
        for step in range(steps):
            if step % each == 0:
                order = np.argsort(rng.random(len(patches)), kind="stable")
            rows = order[step % each * BATCH :][:BATCH]
            optimizer.set_lr(warmup_cosine(step, lr=self._lr, min_lr=0.0, warmup_epochs=WARMUP * steps, epochs=steps))
            masks_of_batch = paddle.to_tensor(masks[rows].astype(np.int64))
            loss = pixel_loss(self.classifier(self._planes(patches[rows])), masks_of_batch, self._ignore)
            if not np.isfinite(float(loss)):
                raise NonFiniteError(f"the loss of the linear head is {float(loss)} at step {step}; lower --lr")
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        self.classifier.eval()

    @paddle.no_grad()
    def predict(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of patches [N, L, D] -> [N, L, K]."""
        assert self.classifier is not None
        return self.classifier(self._planes(patches)).flatten(2).transpose([0, 2, 1]).numpy()

    def _planes(self, patches: NDArray[np.floating]) -> Tensor:
        x = paddle.to_tensor(patches.astype(np.float32))
        return x.transpose([0, 2, 1]).reshape([x.shape[0], x.shape[2], *self._grid])  # [N, D, rows, columns]

    def _keep(self, batches: Batches, rng: np.random.Generator) -> tuple[NDArray[np.float16], NDArray[np.integer]]:
        """Hold patches float16 [N, L, D] and masks [N, H, W] of all images, or of those that are drawn."""
        drawn: NDArray[np.bool_] | None = None
        kept: list[tuple[NDArray[np.float16], NDArray[np.integer]]] = []
        place = 0
        for patches, masks in batches():
            drawn = self._draw(patches[0].size * 2, rng) if drawn is None else drawn
            used = drawn[place : place + len(patches)]
            kept.append((patches[used].astype(np.float16), masks[used]))
            place += len(patches)
        of_patches, of_masks = zip(*kept, strict=True)
        return np.concatenate(of_patches), np.concatenate(of_masks)

    def _draw(self, bytes_each: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        most = max(1, MOST // bytes_each)
        if most < self._images:
            log.LOGGER.warning(f"the linear head learns from {most} of {self._images} images, whose patches fill 4 GiB")
        drawn = np.zeros(self._images, bool)
        drawn[np.argsort(rng.random(self._images), kind="stable")[:most]] = True
        return drawn
