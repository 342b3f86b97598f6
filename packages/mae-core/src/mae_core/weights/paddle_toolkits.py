"""ViT backbones of PaddleClas, PaddleSeg and PaddleDetection: our names, weights [in, out], patches a convolution."""

from mae_core.errors import CheckpointError
from mae_core.weights.architecture import Architecture
from mae_core.weights.parameter_names import DECODER, HEADS, Layout, RawFile, Shapes

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


PADDLECLAS = Layout(
    "paddleclas",
    _is_never_guessed,
    (".pdparams",),
    cautions=_paddleclas_cautions,
    out_in=False,
    absent=DECODER | HEADS - {"head"},
)
PADDLESEG = Layout(
    "paddleseg",
    _is_never_guessed,
    (".pdparams",),
    cautions=_square_cautions,
    out_in=False,
    absent=DECODER | HEADS,
)
PADDLEDET = Layout(
    "paddledet",
    _is_paddledet,
    (".pdparams",),
    cautions=_paddledet_cautions,
    out_in=False,
    split_qkv=("bias",),
    block={"attn.q.bias": "attn.q_bias", "attn.v.bias": "attn.v_bias"},
    absent=DECODER | HEADS | {"norm"},
)
