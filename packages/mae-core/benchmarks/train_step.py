"""Time a pre-training step on this machine: Paddle's operations, our linear layer, and the fused operators too.

They take turns, so that a machine whose speed drifts still gives a fair ratio.

    python packages/mae-core/benchmarks/train_step.py [--model digits|tiny|base] [--batch 64] [--steps 20]
"""

import argparse
import os
import time

import numpy as np

# isort: off
import mae_core  # before Paddle: it prepares the CPU runtime
import paddle

# isort: on
from paddle import nn

from mae_core.models import MaskedAutoencoderViT
from mae_core.ops import MaskKey, layers
from mae_core.training.optim import build_adamw

DIGITS = {"img_size": 32, "patch_size": 4, "in_chans": 1, "embed_dim": 128, "depth": 4, "num_heads": 4,
          "decoder_embed_dim": 64, "decoder_depth": 2, "decoder_num_heads": 4}  # fmt: skip
MODELS = {
    "digits": lambda: MaskedAutoencoderViT(**DIGITS),
    "tiny": lambda: mae_core.build_model("mae_vit_tiny_patch16"),
    "base": lambda: mae_core.build_model("mae_vit_base_patch16"),
}


def make_step(model, batch):
    optimizer = build_adamw(model)
    optimizer.set_lr(1e-4)
    shape = (batch, *model.img_size, model.in_chans)
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    noise = MaskKey(0, 0, paddle.arange(batch))

    def step():
        started, used = time.perf_counter(), time.process_time()
        model(images, noise=noise, return_pred=False)[0].backward()
        optimizer.step()
        optimizer.clear_grad()
        return time.perf_counter() - started, time.process_time() - used

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="digits")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    step = make_step(MODELS[args.model](), args.batch)
    ours = layers.Linear.forward
    kinds = {
        "Paddle's": (nn.Linear.forward, "reference"),
        "linear layer": (ours, "reference"),
        "and fused": (ours, "fused"),
    }
    times = {name: [] for name in kinds}
    for i in range(args.steps + 2):
        for name, (layers.Linear.forward, os.environ["MAE_CORE_OPS"]) in kinds.items():
            figures = step()
            if i >= 2:  # the first two warm up
                times[name].append(figures)
    print(f"{args.model}, batch {args.batch}, {args.steps} steps each, Paddle {paddle.__version__}")
    print(f"{'':18}{'wall ms p20':>12}{'p50':>9}{'p80':>9}{'CPU ms p50':>12}")
    for name, figures in times.items():
        wall, cpu = np.array(figures).T * 1e3
        low, middle, high = np.quantile(wall, [0.2, 0.5, 0.8])
        print(f"{name:18}{low:12.1f}{middle:9.1f}{high:9.1f}{np.median(cpu):12.1f}")
    walls = np.array(list(times.values()))[:, :, 0]  # [kinds, steps]
    print("speed-up, turn by turn:", "  ".join(f"{np.median(walls[0] / wall):.2f}" for wall in walls))


if __name__ == "__main__":
    main()
