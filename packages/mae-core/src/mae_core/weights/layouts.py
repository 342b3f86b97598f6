"""The families of checkpoints that are read and written, each all in one place: add one to LAYOUTS to support it."""

import json

from mae_core.errors import CheckpointError
from mae_core.weights.architecture import Architecture
from mae_core.weights.huggingface import FILE, config_json, preprocessor_text, read_config, read_preprocessor
from mae_core.weights.metadata import Metadata
from mae_core.weights.parameter_names import DECODER, HEADS, Layout, RawFile, Shapes, header_metadata

_OURS = "mae-core"


def is_ours(raw: RawFile) -> bool:
    """Return whether a file's header says that names and shapes are this package's already."""
    return raw.header.get("format") == _OURS


def _is_mae_core(raw: RawFile, shapes: Shapes) -> bool:
    patch, qkv = _plain_shapes(shapes)
    return is_ours(raw) or (len(qkv) == 2 and len(patch) == 2)


def _is_official(raw: RawFile, shapes: Shapes) -> bool:
    has_decoder = any(name.partition(".")[0] in DECODER for name in shapes)
    return _is_pytorch(shapes) and (has_decoder or raw.file.suffix == ".pth")


def _is_timm(raw: RawFile, shapes: Shapes) -> bool:
    return _is_pytorch(shapes) and not _is_official(raw, shapes)


def _is_huggingface(raw: RawFile, shapes: Shapes) -> bool:
    return _HUGGINGFACE_NAME in shapes


def _is_paddlevit(raw: RawFile, shapes: Shapes) -> bool:
    return _PADDLEVIT_NAME in shapes and _HUGGINGFACE_NAME not in shapes


def _is_passl(raw: RawFile, shapes: Shapes) -> bool:
    patch, qkv = _plain_shapes(shapes)
    return len(qkv) == 2 and len(patch) == 4 and qkv[1] == 3 * qkv[0]


def _is_pytorch(shapes: Shapes) -> bool:
    patch, qkv = _plain_shapes(shapes)
    return len(qkv) == 2 and len(patch) == 4 and qkv[1] != 3 * qkv[0]


def _plain_shapes(shapes: Shapes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of patch embedding and first qkv where they have our names; else two empty ones."""
    if _HUGGINGFACE_NAME in shapes or _PADDLEVIT_NAME in shapes:
        return (), ()
    return shapes.get("patch_embed.proj.weight", ()), shapes.get("blocks.0.attn.qkv.weight", ())


def _our_header(model: Architecture | None) -> dict[str, str]:
    return {"format": _OURS, "schema": "1", "architecture": json.dumps(model.known() if model else {})}


def _official_metadata(raw: RawFile) -> tuple[Metadata, list[str]]:
    metadata, remarks = header_metadata(raw)
    if "visualize" not in raw.file.name:
        return metadata, remarks
    remark = "the official visualize checkpoints were trained without norm_pix_loss"
    return metadata | Metadata(norm_pix_loss=False), [*remarks, remark]


def _huggingface_metadata(raw: RawFile) -> tuple[Metadata, list[str]]:
    config, remarks = read_config(raw.file.with_name("config.json"))
    header, (prepared, others) = header_metadata(raw)[0], read_preprocessor(raw.file.with_name(FILE))
    # A file of ours records the range of floats and the exact crop in its header.
    return prepared | header | config, [*remarks, *([] if header.pixel_mean else others)]


def _huggingface_cautions(model: Architecture) -> list[str]:
    cautions = []
    if model.decoder_embed_dim and model.norm_pix_loss is None:
        cautions += ["norm_pix_loss is in no weight file: config.json has true; --set norm_pix_loss=false otherwise"]
    if not preprocessor_text(model):
        cautions += [f"{FILE} is not written: it takes square images whose pixel statistics are known"]
    return cautions


# ViT backbones of PaddleClas, PaddleSeg and PaddleDetection: our names, weights [in, out], patches a convolution.
_ARGUMENTS = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias")
_KEY_BIAS = "biases of the keys are left out, which changes no feature: softmax cancels them"


def _is_paddledet(raw: RawFile, shapes: Shapes) -> bool:
    qkv = shapes.get("blocks.0.attn.qkv.weight", (0, 0))
    return "blocks.0.attn.q_bias" in shapes and qkv[1] == 3 * qkv[0]


def _is_never_guessed(raw: RawFile, shapes: Shapes) -> bool:
    """Recognise nothing: the names are PASSL's, as which such files are read."""
    return False


def _paddleclas_cautions(model: Architecture) -> list[str]:
    if model.global_pool:
        raise CheckpointError("PaddleClas' ViT has no average-pooled head (fc_norm); use --to passl")
    return _square_cautions(model)


def _square_cautions(model: Architecture) -> list[str]:
    if model.img_size and model.img_size[0] != model.img_size[1]:
        raise CheckpointError(f"this ViT takes square images only; these are {model.img_size}; use another --to")
    return [_arguments(model, model.img_size and model.img_size[0])]


def _paddledet_cautions(model: Architecture) -> list[str]:
    return [_arguments(model, model.img_size and list(model.img_size)), *([_KEY_BIAS] if model.qkv_bias else [])]


def _arguments(model: Architecture, img_size: int | list[int] | None) -> str:
    """Describe what their `VisionTransformer` is built with; an epsilon and biases of its own are other ones."""
    known = {"img_size": img_size, **{name: getattr(model, name) for name in _ARGUMENTS}}
    given = " ".join(f"{name}={value}" for name, value in known.items() if value is not None)
    return f"VisionTransformer takes {given} epsilon=1e-6"


_HUGGINGFACE_NAME, _PADDLEVIT_NAME = "vit.embeddings.cls_token", "encoder_position_embedding"
_TORCH_ENDINGS = {"_mean": "running_mean", "_variance": "running_var"}
_PADDLEVIT = Layout(
    "paddlevit",
    _is_paddlevit,
    (".pdparams",),
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
    _is_huggingface,
    ("",),
    metadata=_huggingface_metadata,
    folder_config=config_json,
    cautions=_huggingface_cautions,
    split_qkv=("weight", "bias"),
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
    absent=HEADS - {"head"},
)
_PADDLECLAS = Layout(
    "paddleclas",
    _is_never_guessed,
    (".pdparams",),
    cautions=_paddleclas_cautions,
    out_in=False,
    absent=DECODER | HEADS - {"head"},
)
_PADDLESEG = Layout(
    "paddleseg",
    _is_never_guessed,
    (".pdparams",),
    cautions=_square_cautions,
    out_in=False,
    absent=DECODER | HEADS,
)
_PADDLEDET = Layout(
    "paddledet",
    _is_paddledet,
    (".pdparams",),
    cautions=_paddledet_cautions,
    out_in=False,
    split_qkv=("bias",),
    block={"attn.q.bias": "attn.q_bias", "attn.v.bias": "attn.v_bias"},
    absent=DECODER | HEADS | {"norm"},
)
# The first that matches is a file's; the first that is written with a suffix is that suffix's.
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            _OURS,
            _is_mae_core,
            (".safetensors", ".pdparams"),
            header=_our_header,
            conv=False,
            out_in=False,
            all_heads=True,
        ),
        Layout("official", _is_official, (".pth", ".safetensors"), metadata=_official_metadata, endings=_TORCH_ENDINGS),
        Layout("timm", _is_timm, (".safetensors", ".pth"), endings=_TORCH_ENDINGS, absent=DECODER),
        _HUGGINGFACE,
        _PADDLEVIT,
        _PADDLECLAS,
        _PADDLESEG,
        _PADDLEDET,
        Layout("passl", _is_passl, (".pdparams",), out_in=False),
    )
}
