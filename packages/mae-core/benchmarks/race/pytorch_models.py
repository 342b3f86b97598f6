"""MAE and its fine-tuning in PyTorch, formulated as the official code is: the opponent of the race.

Our own text after the paper: the whole image is embedded by a convolution, visible tokens are gathered after two
argsorts, the decoder's tokens are put back in image order, and every patch is predicted.
"""

import torch
from torch import nn
from torch.nn import functional as F

from mae_core.models.transformer import sincos_pos_embed

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalize(images):
    """Turn uint8 [N, H, W, C] into float32 [N, C, H, W]."""
    chans = images.shape[-1]
    mean, std = (MEAN, STD) if chans == 3 else ((0.5,) * chans, (0.5,) * chans)
    x = images.permute(0, 3, 1, 2).float().div(255.0)
    return (x - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)


class Attention(nn.Module):
    """Multi-head attention, written out, or by PyTorch's fused function."""

    def __init__(self, dim, heads, fused):
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        n, length, dim = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # [N, h, L, d]
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            x = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(n, length, dim))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim, heads, fused):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, fused)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Patches, class token, positions and blocks."""

    def __init__(self, sizes, fused, trains_positions):
        super().__init__()
        dim, patch = sizes["embed_dim"], sizes["patch_size"]
        self.grid = sizes["img_size"] // patch
        self.patch_size, self.in_chans = patch, sizes["in_chans"]
        self.patch_embed = nn.Conv2d(sizes["in_chans"], dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = self.make_positions(dim, trains_positions)
        self.blocks = nn.ModuleList([Block(dim, sizes["num_heads"], fused) for _ in range(sizes["depth"])])
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def make_positions(self, dim, trains=False):
        values = sincos_pos_embed(dim, (self.grid, self.grid))
        return nn.Parameter(torch.from_numpy(values)[None].float(), requires_grad=trains)

    def embed(self, images):
        return self.patch_embed(normalize(images)).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]  # [N, L, D]

    def encode(self, x):
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(x.shape[0], -1, -1)
        x = torch.cat([cls, x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward_features(self, images):
        return self.encode(self.embed(images))


class MaskedAutoencoder(Encoder):
    """MAE with normalised pixels as the target."""

    def __init__(self, sizes, fused):
        super().__init__(sizes, fused, trains_positions=False)
        dim = sizes["decoder_embed_dim"]
        self.decoder_embed = nn.Linear(sizes["embed_dim"], dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.decoder_pos_embed = self.make_positions(dim)
        self.decoder_blocks = nn.ModuleList(
            [Block(dim, sizes["decoder_num_heads"], fused) for _ in range(sizes["decoder_depth"])]
        )
        self.decoder_norm = nn.LayerNorm(dim, eps=1e-6)
        self.decoder_pred = nn.Linear(dim, sizes["patch_size"] ** 2 * sizes["in_chans"])

    def forward(self, images, mask_ratio=0.75):
        x = self.embed(images)
        n, length, dim = x.shape
        keep = int(length * (1 - mask_ratio))
        order = torch.rand(n, length).argsort(dim=1)
        restore = order.argsort(dim=1)
        x = torch.gather(x, 1, order[:, :keep, None].expand(-1, -1, dim))
        mask = (restore >= keep).float()
        pred = self.decode(self.encode(x), restore)
        error = ((pred - self.targets(images)) ** 2).mean(dim=-1)
        return (error * mask).sum() / mask.sum()

    def decode(self, latent, restore):
        x = self.decoder_embed(latent)
        n, length, dim = restore.shape[0], restore.shape[1], x.shape[2]
        tokens = torch.cat([x[:, 1:], self.mask_token.expand(n, length + 1 - x.shape[1], -1)], dim=1)
        tokens = torch.gather(tokens, 1, restore[:, :, None].expand(-1, -1, dim))
        x = torch.cat([x[:, :1], tokens], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def targets(self, images):
        p, g, x = self.patch_size, self.grid, normalize(images)
        x = x.reshape(x.shape[0], self.in_chans, g, p, g, p)
        x = torch.einsum("nchpwq->nhwpqc", x).reshape(x.shape[0], g * g, -1)
        return (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True) + 1e-6) ** 0.5


class Classifier(Encoder):
    """ViT for fine-tuning: mean of the patch tokens, a norm and a head."""

    def __init__(self, sizes, fused, classes=1000):
        super().__init__(sizes, fused, trains_positions=True)
        self.norm, self.fc_norm = nn.Identity(), nn.LayerNorm(sizes["embed_dim"], eps=1e-6)
        self.head = nn.Linear(sizes["embed_dim"], classes)

    def forward(self, images):
        return self.head(self.fc_norm(self.forward_features(images)[:, 1:].mean(dim=1)))
