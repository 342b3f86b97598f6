"""From an encoder's tokens to one row of features for each image: what `--pool` chooses from."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from paddle import Tensor
from paddle.nn import functional as F

from mae_core.errors import UserError
from mae_core.models import MaskedAutoencoderViT, VisionTransformer

Grid = tuple[int, int]


def class_token(tokens: Tensor, grid: Grid) -> Tensor:
    """Return the class token, [N, 1, D]."""
    return tokens[:, :1]


def mean_token(tokens: Tensor, grid: Grid) -> Tensor:
    """Return the mean of the patch tokens, [N, 1, D]."""
    return tokens[:, 1:].mean(axis=1, keepdim=True)


def grid_means(side: int) -> Callable[[Tensor, Grid], Tensor]:
    """Make the pooling that cuts an image into side x side parts: the mean token of each, [N, side * side, D].

    Where `side` does not divide the grid of patches, neighbouring parts share a row or a column of them.
    """

    def pool(tokens: Tensor, grid: Grid) -> Tensor:
        if min(grid) < side:
            raise UserError(
                f"pool grid{side} needs {side} x {side} patches, the model has {grid[0]} x {grid[1]}; use mean"
            )
        planes = tokens[:, 1:].transpose([0, 2, 1]).reshape([tokens.shape[0], -1, *grid])  # [N, D, rows, columns]
        return F.adaptive_avg_pool2d(planes, side).flatten(2).transpose([0, 2, 1])  # [N, side * side, D]

    return pool


class Pool(NamedTuple):
    """A pooling of tokens [N, 1 + L, D] on a grid of patches to [N, parts, D]."""

    parts: int
    of_tokens: Callable[[Tensor, Grid], Tensor]


POOLS = {
    "class": Pool(1, class_token),
    "mean": Pool(1, mean_token),
    "grid2": Pool(4, grid_means(2)),
    "grid4": Pool(16, grid_means(4)),
}


PIXELS, TOKENS = "pixels", "tokens"  # beside the names of POOLS: raw pixels, and the patch tokens themselves


class Part(NamedTuple):
    """What is taken of what an encoder makes of images.

    Attributes:
        pool: of POOLS, or TOKENS or PIXELS.
        block: number from 0 of the block whose tokens count, or from the end if negative.
        random_init: whether the encoder has random weights, beside one that was trained.
    """

    pool: str
    block: int = -1
    random_init: bool = False


def flags_of(part: Part, parts: Collection[Part]) -> str:
    """Return the flags, each behind a space, that tell a part from others."""
    block = f" --block {part.block}" if len({other.block for other in parts}) > 1 else ""
    return block + (f" --pool {part.pool}" if len({other.pool for other in parts}) > 1 else "")


def part_name(part: Part, parts: Collection[Part]) -> str:
    """Return what tells a part from others in JSON: the pool, the block, or `BLOCK POOL`."""
    pools, blocks = {other.pool for other in parts}, {other.block for other in parts}
    if len(blocks) == 1:
        return part.pool
    return f"{part.block} {part.pool}" if len(pools) > 1 else str(part.block)


def block_numbers(blocks: Sequence[str | int], depth: int) -> list[int]:
    """Return the numbers from 0 of blocks, each once; "all" stands for each.

    Raises:
        UserError: there is no such block.
    """
    if "all" in blocks:
        return list(range(depth))
    numbers = [int(block) for block in blocks]
    if wrong := [number for number in numbers if not -depth <= number < depth]:
        raise UserError(f"block {wrong[0]} is not there; the encoder has {depth}: 0 to {depth - 1}, or -1 for the last")
    return list(dict.fromkeys(number % depth for number in numbers))


def pooled(model: MaskedAutoencoderViT | VisionTransformer, images: Tensor, pool: str, block: int = -1) -> Tensor:
    """Encode images to float32 features [N, D], or [N, 4 D] and [N, 16 D] for the grids; see `pool_tokens`."""
    return pool_tokens(model, model.forward_intermediates(images, [block])[0], pool)


def pool_tokens(model: MaskedAutoencoderViT | VisionTransformer, tokens: Tensor, pool: str) -> Tensor:
    """Pool tokens [N, 1 + L, D] to float32 features [N, parts * D]; `pool` is one of POOLS.

    A classifier with global_pool norms each mean instead of the tokens, as its head reads it.

    Raises:
        UserError: the grid has too few patches, or there is no norm for the class token.
    """
    averages = isinstance(model, VisionTransformer) and model.global_pool
    if averages and pool == "class":
        raise UserError("pool class: with MODEL.GLOBAL_POOL True the class token has no norm; leave one of them out")
    parts = POOLS[pool].of_tokens(tokens, model.grid)  # [N, parts, D]
    return (model.fc_norm(parts) if averages else parts).flatten(1).astype("float32")
