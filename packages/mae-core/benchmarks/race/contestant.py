"""One side of the race in a process of its own: does a step for every line it reads, and prints what it took.

    python contestant.py NAME MODEL TASK BATCH      NAME: one of CONTESTANTS in against_pytorch.py

Answers a line `go` with `wall-seconds cpu-seconds loss`, and `memory` with the peak of the process in MB.
"""

import os
import resource
import sys
import time
from contextlib import nullcontext

from cases import CROSS, LEARNING_RATE, MODELS, WEIGHT_DECAY, encoder_sizes, make_images


def paddle_step(name, model, task, batch):
    """Make the step of this package."""
    if name == "paddle-reference":
        os.environ["MAE_CORE_OPS"] = "reference"
    # isort: off
    import mae_core  # noqa: F401 - before Paddle: it prepares the CPU runtime
    import paddle

    # isort: on
    from mae_core.models import MaskedAutoencoderViT, VisionTransformer
    from mae_core.training.optim import build_adamw
    from mae_core.training.precision import Precision, RoundedWeights

    is_cross, rounds = "cross" in name, name.endswith("bf16")
    precision = Precision(rounds, "bfloat16")
    if rounds and precision.dtype is None:
        raise SystemExit("this machine has no products of bfloat16")
    images, labels = (paddle.to_tensor(a) for a in make_images(model, batch))
    if task == "finetune":
        net = VisionTransformer(num_classes=1000, **encoder_sizes(model))
    else:
        net = MaskedAutoencoderViT(**{**MODELS[model], **(CROSS[model] if is_cross else {})})
    if task == "features":
        net.eval()
        weights = RoundedWeights()  # as `features`, `knn` and `predict` do

        @paddle.no_grad()
        def features():
            with precision.autocast(weights):
                return float(net.forward_features(images)[0, 0, 0])

        return features
    optimizer = build_adamw(net, weight_decay=WEIGHT_DECAY)
    optimizer.set_lr(LEARNING_RATE)

    def step():
        with precision.autocast():
            if task == "finetune":
                loss = paddle.nn.functional.cross_entropy(net(images), labels)
            else:
                loss = net(images, predicted=0.25 if is_cross else None, return_pred=False)[0]
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return float(loss)

    return step


def torch_step(name, model, task, batch):
    """Make the step of the official formulation."""
    import torch
    from pytorch_models import Classifier, MaskedAutoencoder

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    images, labels = (torch.from_numpy(a) for a in make_images(model, batch))
    fused = name != "torch"
    net = Classifier(encoder_sizes(model), fused) if task == "finetune" else MaskedAutoencoder(MODELS[model], fused)
    compiled = torch.compile if name == "torch-compile" else lambda f: f

    def autocast():
        return torch.autocast("cpu", torch.bfloat16) if name == "torch-bf16" else nullcontext()

    if task == "features":
        encode = compiled(net.forward_features)
        autocast().__enter__()  # for good: it keeps what it cast of the weights until it is left
        return torch.no_grad()(lambda: float(encode(images)[0, 0, 0]))
    named = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    groups = [{"params": [p for _, p in named if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
              {"params": [p for _, p in named if p.ndim <= 1], "weight_decay": 0.0}]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))
    forward = compiled(net)

    def step():
        with autocast():
            out = forward(images)
            loss = torch.nn.functional.cross_entropy(out, labels) if task == "finetune" else out
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    return step


def main():
    name, model, task, batch = sys.argv[1:]
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    step = (paddle_step if name.startswith("paddle") else torch_step)(name, model, task, int(batch))
    for line in sys.stdin:
        if line.strip() == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=answers, flush=True)
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        loss = step()
        print(time.perf_counter() - wall, time.process_time() - cpu, loss, file=answers, flush=True)


if __name__ == "__main__":
    main()
