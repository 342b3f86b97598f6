"""How each family of checkpoints names and lays out the parameters of this package's models.

"Ours" means the names of `mae_core.models`: those of the official PyTorch code, with linear weights [in, out] and
the patch embedding as a linear weight [p*p*C, D] in the order rows, columns, channel.
"""

import re
from dataclasses import dataclass, field

# Ours, without `.weight` and `.bias`. Heads: `head` of fine-tuning; `head.0`, a batch norm, and `head.1` of probing.
TOP = (
    *("cls_token", "pos_embed", "mask_token", "decoder_pos_embed", "patch_embed.proj", "norm", "fc_norm"),
    *("decoder_embed", "decoder_norm", "decoder_pred", "head", "head.0", "head.1"),
)
BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
ROOTS = ("blocks", "decoder_blocks")
_ENDINGS = ("weight", "bias", "_mean", "_variance", "num_batches_tracked")
_BLOCK_NAME = re.compile(r"(.+?)\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Layout:
    """One family of checkpoints.

    Args:
        conv: the patch embedding is a convolution [D, C, p, p].
        out_in: linear weights are [out, in], as in PyTorch.
        split_qkv: query, key and value are three linear layers.
        top, block, roots: their name for each of ours; names that are not here are the same.
        endings: the same for the last part of a name.
        absent: our names that this family has no place for.
    """

    name: str
    conv: bool = True
    out_in: bool = True
    split_qkv: bool = False
    top: dict[str, str] = field(default_factory=dict)
    block: dict[str, str] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    def theirs(self, ours: str) -> str | None:
        """Translate one of our names; None where this family has no such parameter."""
        return _translate(ours, *self._tables())

    def ours(self, theirs: str) -> str | None:
        """Translate one of their names; None where it is unknown."""
        return _translate(theirs, *({value: key for key, value in table.items()} for table in self._tables()))

    def _tables(self) -> tuple[dict[str, str], dict[str, str], dict[str, str], dict[str, str]]:
        qkv = ("attn.q", "attn.k", "attn.v") if self.split_qkv else ()
        return (
            {name: self.top.get(name, name) for name in TOP if name not in self.absent},
            {name: self.block.get(name, name) for name in (*BLOCK, *qkv)},
            {name: self.roots.get(name, name) for name in ROOTS if name not in self.absent},
            {name: self.endings.get(name, name) for name in _ENDINGS},
        )


def _translate(
    name: str, top: dict[str, str], block: dict[str, str], roots: dict[str, str], endings: dict[str, str]
) -> str | None:
    if name in top:  # tokens and position embeddings
        return top[name]
    stem, _, ending = name.rpartition(".")
    if stem in top and ending in endings:
        return f"{top[stem]}.{endings[ending]}"
    match = _BLOCK_NAME.fullmatch(stem)
    if match is None or ending not in endings or match[1] not in roots or match[3] not in block:
        return None
    return f"{roots[match[1]]}.{match[2]}.{block[match[3]]}.{endings[ending]}"


DECODER = frozenset(
    {"mask_token", "decoder_pos_embed", "decoder_embed", "decoder_norm", "decoder_pred", "decoder_blocks"}
)
_TORCH_ENDINGS = {"_mean": "running_mean", "_variance": "running_var"}
_PADDLEVIT = Layout(
    "paddlevit",
    out_in=False,
    top={
        "pos_embed": "encoder_position_embedding",
        "decoder_pos_embed": "decoder_position_embedding",
        "patch_embed.proj": "patch_embedding.patch_embedding",
        "norm": "encoder.norm",
        "fc_norm": "encoder_norm",
        "decoder_embed": "linear_projection",
        "decoder_norm": "decoder.norm",
        "head": "classifier",
        "head.0": "classifier.0",
        "head.1": "classifier.1",
    },
    block={"norm1": "attn_norm", "norm2": "mlp_norm", "attn.proj": "attn.out"},
    roots={"blocks": "encoder.layers", "decoder_blocks": "decoder.layers"},
)
_HUGGINGFACE = Layout(
    "huggingface",
    split_qkv=True,
    top={
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
        "norm": "vit.layernorm",
        "mask_token": "decoder.mask_token",
        "decoder_pos_embed": "decoder.decoder_pos_embed",
        "decoder_embed": "decoder.decoder_embed",
        "decoder_norm": "decoder.decoder_norm",
        "decoder_pred": "decoder.decoder_pred",
        "head": "classifier",
    },
    block={
        "norm1": "layernorm_before",
        "attn.q": "attention.attention.query",
        "attn.k": "attention.attention.key",
        "attn.v": "attention.attention.value",
        "attn.proj": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    },
    roots={"blocks": "vit.encoder.layer", "decoder_blocks": "decoder.decoder_layers"},
    absent=frozenset({"fc_norm", "head.0", "head.1"}),
)
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("mae-core", conv=False, out_in=False),
        Layout("official", endings=_TORCH_ENDINGS),
        Layout("timm", endings=_TORCH_ENDINGS, absent=DECODER),
        _HUGGINGFACE,
        _PADDLEVIT,
        Layout("passl", out_in=False),
    )
}

# What newer releases of transformers call the same parameters, in files (the first) and in memory.
_RENAMED = (
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"^vit\.layers\.", "vit.encoder.layer."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
_WRAPPERS = ("module.", "_layers.", "backbone.", "_orig_mod.")  # left by data-parallel training, PASSL and compilers


def plain_name(name: str) -> str:
    """Strip what wrappers put before a name, and bring spellings of transformers to the published one."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    if name.startswith(("embeddings.", "encoder.layer.", "layernorm.", "layers.", "pooler.")):
        name = f"vit.{name}"  # ViTModel and ViTMAEModel save their parts without it
    if name.startswith(("vit.", "decoder.decoder_")):
        for pattern, published in _RENAMED:
            name = re.sub(pattern, published, name)
    return name
