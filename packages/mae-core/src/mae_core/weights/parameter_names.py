"""A layout: how one family of checkpoints names and lays out the parameters of this package's models.

"Ours" means the names of `mae_core.models`: those of the official PyTorch code, with linear weights [in, out] and
the patch embedding as a linear weight [p*p*C, D] in the order rows, columns, channel.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mae_core.weights.architecture import Architecture
from mae_core.weights.metadata import Metadata, metadata_from_header

# Ours, without `.weight` and `.bias`. Heads: `head` of fine-tuning; `head.0`, a batch norm, and `head.1` of probing,
# behind `head.pool` where the probe is attentive.
TOP = (
    *("cls_token", "pos_embed", "mask_token", "decoder_pos_embed", "patch_embed.proj", "norm", "fc_norm"),
    *("decoder_embed", "decoder_mixtures", "decoder_norm", "decoder_pred", "head", "head.0", "head.1"),
    *("head.pool.queries", "head.pool.value"),
)
BLOCK = (
    *("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"),
    *("norm_context", "attn.q", "attn.kv"),  # of a cross-attention decoder
)
ROOTS = ("blocks", "decoder_blocks")
_ENDINGS = ("weight", "bias", "_mean", "_variance", "num_batches_tracked")
_BLOCK_NAME = re.compile(r"(.+?)\.(\d+)\.(.+)")


@dataclass(frozen=True)
class RawFile:
    """What a file holds, by its own names."""

    file: Path
    arrays: Mapping[str, NDArray[Any]]
    header: Mapping[str, str] = field(default_factory=dict)


Shapes = Mapping[str, tuple[int, ...]]


def header_metadata(raw: RawFile) -> tuple[Metadata, list[str]]:
    """Return the metadata in a safetensors header of ours, and no remarks."""
    return metadata_from_header(raw.header.get("architecture")), []


def pytorch_header(model: Architecture | None) -> dict[str, str]:
    """Return the safetensors header that transformers asks for, and in it what no shape shows."""
    return {"format": "pt", **({"architecture": json.dumps(model.known())} if model else {})}


@dataclass(frozen=True)
class Layout:
    """One family of checkpoints.

    Args:
        name: what `--from`, `--to` and reports call it.
        matches: recognises a file of this family, from the file and its shapes by plain name.
        suffixes: what it is written as; "" is a folder.
        metadata: what a file records beside its arrays, and remarks on it for the report.
        header: the safetensors header it is written with.
        folder_config: where it is written as a folder, the text of the `config.json` in it.
        cautions: what a user should know who writes a model like this; CheckpointError where this family has none.
        conv: the patch embedding is a convolution [D, C, p, p].
        out_in: linear weights are [out, in], as in PyTorch.
        split_qkv: what is kept apart for query, key and value: `weight`, `bias`. `block` has the names of the parts; a
            bias of the key that it does not name is left out, and zero when it is read: softmax cancels it.
        top, block, roots: their name for each of ours; names that are not here are the same.
        endings: the same for the last part of a name.
        absent: our names that this family has no place for.
        all_heads: names below `head.` that are not ours are kept: of segmentation.
    """

    name: str
    matches: Callable[[RawFile, Shapes], bool]
    suffixes: tuple[str, ...]
    metadata: Callable[[RawFile], tuple[Metadata, list[str]]] = header_metadata
    header: Callable[[Architecture | None], dict[str, str]] = pytorch_header
    folder_config: Callable[[Architecture], str] | None = None
    cautions: Callable[[Architecture], list[str]] = lambda model: []
    conv: bool = True
    out_in: bool = True
    split_qkv: tuple[str, ...] = ()
    top: dict[str, str] = field(default_factory=dict)
    block: dict[str, str] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    endings: dict[str, str] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    all_heads: bool = False

    def theirs(self, ours: str) -> str | None:
        """Translate one of our names; None where this family has no such parameter."""
        return _translate(ours, *self._tables()) or self._part_of_a_head(ours)

    def ours(self, theirs: str) -> str | None:
        """Translate one of their names; None where it is unknown."""
        tables = ({value: key for key, value in table.items()} for table in self._tables())
        return _translate(theirs, *tables) or self._part_of_a_head(theirs)

    def _part_of_a_head(self, name: str) -> str | None:
        return name if self.all_heads and name.startswith("head.") else None

    def _tables(self) -> tuple[dict[str, str], dict[str, str], dict[str, str], dict[str, str]]:
        return (
            {name: self.top.get(name, name) for name in TOP if name not in self.absent},
            {name: self.block.get(name, name) for name in (*BLOCK, *self.block)},
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
    match = _BLOCK_NAME.fullmatch(name)
    if match is None or match[1] not in roots:
        return None
    part, _, ending = match[3].rpartition(".")
    if match[3] in block:  # a bias that is no layer's
        part_name = block[match[3]]
    elif part in block and ending in endings:
        part_name = f"{block[part]}.{endings[ending]}"
    else:
        return None
    return f"{roots[match[1]]}.{match[2]}.{part_name}"


DECODER = frozenset(
    {"mask_token", "decoder_pos_embed", "decoder_embed", "decoder_mixtures", "decoder_norm", "decoder_pred"}
    | {"decoder_blocks"}
)
HEADS = frozenset({"fc_norm", "head", "head.0", "head.1", "head.pool.queries", "head.pool.value"})

# What begins so serves training alone: resuming reads it, a reader of weights does not see it.
TRAINING_ALONE = "distillation."

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
