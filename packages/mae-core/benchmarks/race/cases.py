"""The models and tasks of the race, for both frameworks."""

import numpy as np

BASE = {"img_size": 224, "patch_size": 16, "in_chans": 3, "embed_dim": 768, "depth": 12, "num_heads": 12,
        "decoder_embed_dim": 512, "decoder_depth": 8, "decoder_num_heads": 16}  # fmt: skip
DIGITS = {"img_size": 32, "patch_size": 4, "in_chans": 1, "embed_dim": 128, "depth": 4, "num_heads": 4,
          "decoder_embed_dim": 64, "decoder_depth": 2, "decoder_num_heads": 4}  # fmt: skip
CROSS = {"base": {"decoder_kind": "cross", "decoder_depth": 12}, "digits": {"decoder_kind": "cross"}}
MODELS = {"base": BASE, "digits": DIGITS}
TASKS = ("pretrain", "finetune", "features")
# model, task, batch: what runs where nothing is chosen
CASES = (("base", "pretrain", 8), ("digits", "pretrain", 64), ("base", "finetune", 8), ("digits", "finetune", 64),
         ("base", "features", 8), ("digits", "features", 64))  # fmt: skip
LEARNING_RATE, WEIGHT_DECAY = 1e-4, 0.05


def encoder_sizes(model):
    """Sizes without the decoder's."""
    return {key: value for key, value in MODELS[model].items() if not key.startswith("decoder")}


def make_images(model, batch):
    """Random uint8 [N, H, W, C] and labels [N]."""
    rng, sizes = np.random.default_rng(0), MODELS[model]
    shape = (batch, sizes["img_size"], sizes["img_size"], sizes["in_chans"])
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 1000, batch)
