"""The forward pass of an autoencoder with a cross-attention decoder in NumPy float64, written from CrossMAE's paper.

One sample at a time, one removed patch at a time: no query is computed beside another.
"""

import math

import numpy as np
from numpy_mae import block, erf, layer_norm, linear, patches_of


def attend(query, context, weights, name, heads):
    """Let one query [D] look at a context [T, D_context] -> [D]."""
    q = linear(query, weights, f"{name}.q")
    k, v = np.split(linear(context, weights, f"{name}.kv"), 2, axis=-1)
    size = len(q) // heads
    out = []
    for at in range(0, len(q), size):
        scores = k[:, at : at + size] @ q[at : at + size] / math.sqrt(size)
        shares = np.exp(scores - scores.max())
        out.append(shares @ v[:, at : at + size] / shares.sum())
    return linear(np.concatenate(out), weights, f"{name}.proj")


def predict(weights, encoded, patch, *, decoder_heads):
    """Predict the pixels of one patch from what the encoder put out, K of [T, D] -> [p*p*C]."""
    x = (weights["mask_token"][0] + weights["decoder_pos_embed"][0, 1 + patch])[0]
    for i in range(weights["decoder_mixtures.weight"].shape[1]):
        name = f"decoder_blocks.{i}"
        mixed = sum(w * tokens for w, tokens in zip(weights["decoder_mixtures.weight"][:, i], encoded, strict=True))
        context = layer_norm(mixed, weights, f"{name}.norm_context")
        x = x + attend(layer_norm(x, weights, f"{name}.norm1"), context, weights, f"{name}.attn", decoder_heads)
        hidden = linear(layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
        x = x + linear(hidden * 0.5 * (1 + erf(hidden / math.sqrt(2))), weights, f"{name}.mlp.fc2")
    return linear(layer_norm(x, weights, "decoder_norm"), weights, "decoder_pred")


def forward(weights, images, noise, *, p, heads, decoder_heads, mask_ratio, norm_pix, predicted):
    """Return loss and predictions [N, L, p*p*C] of float64 images [N, C, H, W]; visible patches, too, are predicted.

    Args:
        predicted: number of patches that count, those of the smallest noise among the removed.
    """
    preds, losses = [], []
    for patches, ranks in zip(patches_of(images, p), noise, strict=True):
        order = np.argsort(ranks, kind="stable")
        visible = order[: int(len(order) * (1 - mask_ratio))]
        x = linear(patches[visible], weights, "patch_embed.proj") + weights["pos_embed"][0, 1 + visible]
        x = np.concatenate([weights["cls_token"][0] + weights["pos_embed"][0, :1], x])
        encoded = [x]
        for i in range(len(weights["decoder_mixtures.weight"]) - 1):
            encoded.append(block(encoded[-1][None], weights, f"blocks.{i}", heads)[0])
        preds.append([predict(weights, encoded, i, decoder_heads=decoder_heads) for i in range(len(order))])
        for i in order[len(visible) : len(visible) + predicted]:
            target = patches[i]
            if norm_pix:
                target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            losses.append(((preds[-1][i] - target) ** 2).mean())
    return np.mean(losses), np.array(preds)
