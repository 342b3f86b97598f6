"""What 8 to 512 GPUs would do: where communication, input or checkpoints become the limit of pre-training.

A simulation of one step, no measurement: gradients become ready while the backward pass runs, DataParallel sends them
by buckets, one after the other, and what is not through when the backward pass ends is waited for. Bytes and MACs are
those of the models; speeds are assumed, and each is an argument. The batch of all ranks is the recipe's at any number.

    .venv/bin/python tools/scaling.py [--sharded] [--plot FILE.png]
"""

import argparse
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from mae_core.models.cost import ModelSize, mae_macs, mae_parameters

MIB, GB, GBIT = 2**20, 1e9, 1e9 / 8
MODELS = {
    "ViT-B/16": ModelSize(),
    "ViT-L/16": ModelSize(embed_dim=1024, depth=24),
    "ViT-H/14": ModelSize(embed_dim=1280, depth=32, patch_size=14),
}
IMAGES = 1_281_167  # of ImageNet-1k
LINKS = (25, 100, 200, 400, 1600)  # Gb/s
RANKS = (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Cluster:
    """What is assumed of the machines; speeds in bytes or operations a second.

    Args:
        link: between nodes, per node and direction.
        hop: seconds that a message takes from rank to rank; a reduction has two for each doubling of the ranks.
        overlap: 1 where buckets are sent as soon as they are ready, 0 where all wait for the backward pass.
        update: of a GPU's memory; AdamW reads and writes 28 bytes a parameter.
        decode: seconds of a core for one image; `packages/mae-data/README.md` has it measured.
        bus: from a GPU to the host, which copies a checkpoint.
    """

    per_node: int = 8
    flops: float = 312e12
    utilisation: float = 0.3
    nvlink: float = 230 * GB
    link: float = 400 * GBIT
    link_share: float = 0.85
    hop: float = 10e-6
    overlap: float = 1.0
    update: float = 1.2e12
    bucket: float = 25 * MIB
    decode: float = 1.02e-3
    image_bytes: float = 108e3
    bus: float = 10 * GB
    disk: float = 1 * GB


@dataclass(frozen=True)
class Step:
    """Seconds of one step of all ranks, and what goes with it.

    Attributes:
        passes: forward and backward passes of a rank.
        compute: forward, backward and update.
        exposed: communication that nothing hides.
        cores: for decoding, per GPU.
        read: bytes a second of all ranks' images.
        stall, write: of a checkpoint, seconds.
    """

    passes: int
    compute: float
    exposed: float
    images: float
    cores: float
    read: float
    stall: float
    write: float

    @property
    def seconds(self) -> float:
        return self.compute + self.exposed


def reduction(size: float, ranks: int, c: Cluster, rounds: int = 2) -> float:
    """Return the seconds of an all-reduce of bytes; of a broadcast to all, with 1 round."""
    if ranks == 1:
        return 0.0
    speed = c.nvlink if ranks <= c.per_node else min(c.nvlink, c.link * c.link_share)
    return rounds * (size * (ranks - 1) / ranks / speed + math.ceil(math.log2(ranks)) * c.hop)


def buckets(size: ModelSize, c: Cluster) -> list[tuple[float, float]]:
    """Return each bucket's bytes and the share of the backward pass that it is ready after; the decoder comes first."""
    parameters, macs = mae_parameters(size, trainable=True), mae_macs(size)
    total, decoder = 4 * parameters.total, 4 * parameters.decoder
    split = macs.decoder / macs.total

    def ready(sent: float) -> float:
        if sent <= decoder:
            return split * sent / decoder
        return split + (1 - split) * (sent - decoder) / (total - decoder)

    edges = [min(i * c.bucket, total) for i in range(math.ceil(total / c.bucket) + 1)]
    return [(high - low, ready(high)) for low, high in pairwise(edges)]


def exposed(size: ModelSize, backward: float, ranks: int, c: Cluster) -> float:
    """Return the seconds of sending gradients that go on after the backward pass."""
    free = 0.0
    for nbytes, share in buckets(size, c):
        free = max(free, (1 - c.overlap * (1 - share)) * backward) + reduction(nbytes, ranks, c)
    return max(0.0, free - backward) if ranks > 1 else 0.0


def simulate(
    size: ModelSize, ranks: int, c: Cluster, *, batch: int = 4096, most: int = 64, sharded: bool = False
) -> Step:
    """Simulate a step.

    Args:
        batch: images of all ranks.
        most: images of a rank's pass; more are accumulated, and gradients sent after the last pass only.
        sharded: TRAIN.SHARD_OPTIMIZER; each rank updates its share and broadcasts it.
    """
    passes = max(1, math.ceil(batch / ranks / most))
    forward = 2 * mae_macs(size).total * batch / ranks / passes / (c.flops * c.utilisation)
    parameters = mae_parameters(size, trainable=True).total
    update = 28 * parameters / c.update / (ranks if sharded else 1)
    wait = exposed(size, 2 * forward, ranks, c) + reduction(8 * 8, ranks, c)  # and one of eight figures
    if sharded:
        tensors = 12 * (size.depth + size.decoder_depth)  # each is a broadcast of its own
        wait += reduction(4 * parameters, ranks, c, rounds=1) + (tensors - 1) * reduction(0, ranks, c, rounds=1)
    step = 3 * forward * passes + update + wait
    rate = batch / step
    saved = 12 * parameters
    return Step(
        passes, step - wait, wait, rate, rate / ranks * c.decode, rate * c.image_bytes, saved / c.bus, saved / c.disk
    )


def limits(steps: dict[int, Step], cores: float, storage: float) -> dict[str, int | None]:
    """Return the first number of ranks at which a thing is the limit; None where it is not up to the largest.

    Args:
        cores: of the host, for each GPU.
        storage: bytes a second that images can be read at, by all ranks together.
    """
    reached = {
        "communication": [r for r, s in steps.items() if s.exposed > 0.1 * s.seconds],
        "decoding": [r for r, s in steps.items() if s.cores > cores],
        "storage": [r for r, s in steps.items() if s.read > storage],
        "checkpoint": [r for r, s in steps.items() if s.write > IMAGES / s.images],
    }
    return {name: min(found, default=None) for name, found in reached.items()}


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def shares(c: Cluster, **options: Any) -> Iterator[str]:
    """Give the lines of a table: the share of a step that waits for communication, by model and link."""
    yield _row(["waits for communication", *(f"{r} GPUs" for r in RANKS)])
    yield _row(["---"] * (1 + len(RANKS)))
    for name, size in MODELS.items():
        for link in LINKS:
            steps = [simulate(size, r, replace(c, link=link * GBIT), **options) for r in RANKS]
            yield _row([f"{name}, {link} Gb/s", *(f"{s.exposed / s.seconds:.0%}" for s in steps)])


def needs(c: Cluster, cores: float, storage: float, **options: Any) -> Iterator[str]:
    """Give the lines of a table: speed, input and checkpoints; an epoch has the images of ImageNet-1k."""
    columns = ["images/s", "step", "epoch", "cores/GPU", "read", "checkpoint's stall", "and write"]
    yield _row([f"at {c.link / GBIT:.0f} Gb/s", *columns])
    yield _row(["---"] * (1 + len(columns)))
    for name, size in MODELS.items():
        steps = {r: simulate(size, r, c, **options) for r in RANKS}
        for r in RANKS[::2]:
            s = steps[r]
            cells = [f"{s.images:,.0f}", f"{s.seconds * 1e3:.0f} ms", f"{IMAGES / s.images:.0f} s", f"{s.cores:.2f}"]
            cells += [f"{s.read / GB:.2f} GB/s", f"{s.stall:.2f} s", f"{s.write:.1f} s"]
            yield _row([f"{name}, {r} GPUs", *cells])
        first = limits(steps, cores, storage)
        yield _row(["limits, from GPUs", ", ".join(f"{k}: {v or 'none'}" for k, v in first.items()), *[""] * 6])


def draw(c: Cluster, file: Path, **options: Any) -> None:
    """Draw the share of a step that is computing, by model and link."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, (name, size) in zip(figure.subplots(1, len(MODELS), sharey=True), MODELS.items(), strict=True):
        for link in LINKS:
            steps = [simulate(size, r, replace(c, link=link * GBIT), **options) for r in RANKS]
            axes.plot(RANKS, [s.compute / s.seconds for s in steps], "o-", markersize=3, label=f"{link} Gb/s")
        axes.set(title=name, xlabel="GPUs", xscale="log", ylim=(0, 1.05))
        axes.set_xticks(RANKS, RANKS, minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("efficiency")
    figure.axes[0].legend(title="per node", fontsize="small")
    figure.savefig(file, dpi=110)


def main() -> None:
    """Print the tables, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Cluster):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, default=field.default)
    parser.add_argument("--batch", type=int, default=4096, help="images of all ranks (Table 8: 4096)")
    parser.add_argument("--most", type=int, default=64, help="images of a rank's pass")
    parser.add_argument("--sharded", action="store_true", help="with TRAIN.SHARD_OPTIMIZER")
    parser.add_argument("--host-cores", type=float, default=12, help="for each GPU")
    parser.add_argument("--storage", type=float, default=5 * GB, help="bytes a second for all ranks")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    cluster = Cluster(**{field.name: getattr(args, field.name) for field in fields(Cluster)})
    options = {"batch": args.batch, "most": args.most, "sharded": args.sharded}
    print("\n".join([*shares(cluster, **options), "", *needs(cluster, args.host_cores, args.storage, **options)]))
    if args.plot:
        draw(cluster, args.plot, **options)


if __name__ == "__main__":
    main()
