"""MAE's forward pass in NumPy float64, written from the paper, with nothing taken from mae_core.

It shuffles, un-shuffles and pads with mask tokens literally, as the paper describes it.
The cross-attention decoder is written from its own paper (arXiv 2401.14391).
"""

import math

import numpy as np

erf = np.vectorize(math.erf)


def layer_norm(x, weights, name):
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(x, weights, name, heads):
    n, length, dim = x.shape
    q, k, v = np.split(linear(x, weights, f"{name}.qkv"), 3, axis=-1)
    split = lambda t: t.reshape(n, length, heads, dim // heads).transpose(0, 2, 1, 3)  # noqa: E731
    scores = split(q) @ split(k).transpose(0, 1, 3, 2) / math.sqrt(dim // heads)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    out = (scores / scores.sum(-1, keepdims=True)) @ split(v)
    return linear(out.transpose(0, 2, 1, 3).reshape(n, length, dim), weights, f"{name}.proj")


def block(x, weights, name, heads):
    x = x + attention(layer_norm(x, weights, f"{name}.norm1"), weights, f"{name}.attn", heads)
    hidden = linear(layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
    hidden = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))
    return x + linear(hidden, weights, f"{name}.mlp.fc2")


def patches_of(images, p):
    """images [N, C, H, W] -> [N, L, p*p*C] by explicit slicing."""
    n, _, height, width = images.shape
    cells = [
        images[:, :, i : i + p, j : j + p].transpose(0, 2, 3, 1).reshape(n, -1)
        for i in range(0, height, p)
        for j in range(0, width, p)
    ]
    return np.stack(cells, axis=1)


def forward(weights, images, noise, *, p, heads, decoder_heads, mask_ratio, norm_pix, valid=1.0):
    """Return loss, pred [N, L, p*p*C] and mask [N, L]; images are float64 [N, C, H, W], normalised."""
    patches = patches_of(images, p)
    n, length, _ = patches.shape
    keep = int(length * (1 - mask_ratio))
    shuffle = np.argsort(noise, axis=1, kind="stable")
    restore = np.argsort(shuffle, axis=1, kind="stable")
    mask = np.ones((n, length))
    for row, ids in zip(mask, shuffle[:, :keep], strict=True):
        row[ids] = 0

    x = linear(patches, weights, "patch_embed.proj") + weights["pos_embed"][:, 1:]
    x = np.take_along_axis(x, shuffle[:, :keep, None], axis=1)
    cls = np.broadcast_to(weights["cls_token"] + weights["pos_embed"][:, :1], (n, 1, x.shape[-1]))
    x = np.concatenate([cls, x], axis=1)
    for i in range(sum(name.endswith("attn.qkv.weight") and name.startswith("blocks") for name in weights)):
        x = block(x, weights, f"blocks.{i}", heads)
    x = linear(layer_norm(x, weights, "norm"), weights, "decoder_embed")

    fill = np.broadcast_to(weights["mask_token"], (n, length - keep, x.shape[-1]))
    tokens = np.take_along_axis(np.concatenate([x[:, 1:], fill], axis=1), restore[:, :, None], axis=1)
    x = np.concatenate([x[:, :1], tokens], axis=1) + weights["decoder_pos_embed"]
    for i in range(sum(name.endswith("attn.qkv.weight") and name.startswith("decoder") for name in weights)):
        x = block(x, weights, f"decoder_blocks.{i}", decoder_heads)
    pred = linear(layer_norm(x, weights, "decoder_norm"), weights, "decoder_pred")[:, 1:]

    target = patches
    if norm_pix:
        target = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    counted = mask * valid
    loss = (((pred - target) ** 2).mean(-1) * counted).sum() / counted.sum()
    return loss, pred, mask


def cross_attention(query, context, weights, name, heads):
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


def predict_crosswise(weights, encoded, patch, *, decoder_heads):
    """Predict the pixels of one patch from what the encoder put out, K of [T, D] -> [p*p*C]."""
    x = (weights["mask_token"][0] + weights["decoder_pos_embed"][0, 1 + patch])[0]
    for i in range(weights["decoder_mixtures.weight"].shape[1]):
        name = f"decoder_blocks.{i}"
        mixed = sum(w * tokens for w, tokens in zip(weights["decoder_mixtures.weight"][:, i], encoded, strict=True))
        context = layer_norm(mixed, weights, f"{name}.norm_context")
        x = x + cross_attention(
            layer_norm(x, weights, f"{name}.norm1"), context, weights, f"{name}.attn", decoder_heads
        )
        hidden = linear(layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
        x = x + linear(hidden * 0.5 * (1 + erf(hidden / math.sqrt(2))), weights, f"{name}.mlp.fc2")
    return linear(layer_norm(x, weights, "decoder_norm"), weights, "decoder_pred")


def cross_forward(weights, images, noise, *, p, heads, decoder_heads, mask_ratio, norm_pix, predicted):
    """Return loss and pred [N, L, p*p*C] of a cross-attention decoder, one sample and one patch at a time.

    Args:
        images: float64 [N, C, H, W], normalised.
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
        preds.append([predict_crosswise(weights, encoded, i, decoder_heads=decoder_heads) for i in range(len(order))])
        for i in order[len(visible) : len(visible) + predicted]:
            target = patches[i]
            if norm_pix:
                target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            losses.append(((preds[-1][i] - target) ** 2).mean())
    return np.mean(losses), np.array(preds)
