"""Cases that compare this package with transformers and timm, and what these compute.

Weights, images and noise are functions of a seed, so the golden files hold results only; run as a script, this writes
them. `run_*` need torch, transformers and timm; the rest needs NumPy.
"""

import json
import re
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden") / "weights_proof.npz"
_BASE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 16,
    "patch_size": 4,
    "num_channels": 3,
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
}
_MAE = {
    **_BASE,
    "model_type": "vit_mae",
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 48,
    "mask_ratio": 0.75,
    "norm_pix_loss": True,
}
MAE_CASES = {
    "square_norm_pix": _MAE,
    "grey_plain": {
        **_MAE,
        "num_hidden_layers": 1,
        "num_channels": 1,
        "norm_pix_loss": False,
        "patch_size": 2,
        "image_size": 8,
    },
    "non_square": {**_MAE, "image_size": [8, 20], "decoder_num_hidden_layers": 2, "num_hidden_layers": 1},
}
VIT_CASES = {
    "huggingface_token": {**_BASE, "model_type": "vit", "num_labels": 5, "image_size": [8, 12], "num_hidden_layers": 1},
    "timm_token": {**_BASE, "num_labels": 5, "num_channels": 1},
    "timm_average": {**_BASE, "num_labels": 5, "image_size": [12, 8], "num_hidden_layers": 1},
}


def sizes(config):
    """Return height, width and the number of patches."""
    image = config["image_size"]
    height, width = (image, image) if isinstance(image, int) else image
    return height, width, height * width // config["patch_size"] ** 2


def _block(prefix, dim, hidden):
    for part in ("layernorm_before", "layernorm_after"):
        yield f"{prefix}.{part}.weight", (dim,)
        yield f"{prefix}.{part}.bias", (dim,)
    linears = [(f"attention.attention.{part}", dim, dim) for part in ("query", "key", "value")]
    linears += [
        ("attention.output.dense", dim, dim),
        ("intermediate.dense", hidden, dim),
        ("output.dense", dim, hidden),
    ]
    for part, rows, columns in linears:
        yield f"{prefix}.{part}.weight", (rows, columns)
        yield f"{prefix}.{part}.bias", (rows,)


def _shapes(config):
    """Names and shapes as published Hugging Face checkpoints have them."""
    dim, p, chans, patches = config["hidden_size"], config["patch_size"], config["num_channels"], sizes(config)[2]
    yield "vit.embeddings.cls_token", (1, 1, dim)
    yield "vit.embeddings.position_embeddings", (1, 1 + patches, dim)
    yield "vit.embeddings.patch_embeddings.projection.weight", (dim, chans, p, p)
    yield "vit.embeddings.patch_embeddings.projection.bias", (dim,)
    for i in range(config["num_hidden_layers"]):
        yield from _block(f"vit.encoder.layer.{i}", dim, config["intermediate_size"])
    yield "vit.layernorm.weight", (dim,)
    yield "vit.layernorm.bias", (dim,)
    if "num_labels" in config:
        yield "classifier.weight", (config["num_labels"], dim)
        yield "classifier.bias", (config["num_labels"],)
        return
    inner = config["decoder_hidden_size"]
    yield "decoder.mask_token", (1, 1, inner)
    yield "decoder.decoder_pos_embed", (1, 1 + patches, inner)
    yield "decoder.decoder_embed.weight", (inner, dim)
    yield "decoder.decoder_embed.bias", (inner,)
    for i in range(config["decoder_num_hidden_layers"]):
        yield from _block(f"decoder.decoder_layers.{i}", inner, config["decoder_intermediate_size"])
    yield "decoder.decoder_norm.weight", (inner,)
    yield "decoder.decoder_norm.bias", (inner,)
    yield "decoder.decoder_pred.weight", (p * p * chans, inner)
    yield "decoder.decoder_pred.bias", (p * p * chans,)


def arrays_of(config):
    """Random weights by Hugging Face's names, far from any initialisation."""
    rng = np.random.default_rng(5)
    arrays = {}
    for name, shape in _shapes(config):
        values = 0.3 * rng.standard_normal(shape)
        is_scale = re.search(r"norm\w*\.weight$", name)
        arrays[name] = (1.0 + values if is_scale else values).astype(np.float32)
    return arrays


def timm_arrays(config, average):
    """The same weights by timm's names, made by hand."""
    arrays, result = arrays_of(config), {}
    for name, array in arrays.items():
        name = name.replace("vit.embeddings.patch_embeddings.projection", "patch_embed.proj")
        name = name.replace("vit.embeddings.position_embeddings", "pos_embed").replace("vit.embeddings.", "")
        name = name.replace("vit.encoder.layer", "blocks").replace("attention.output.dense", "attn.proj")
        name = name.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")
        name = name.replace("intermediate.dense", "mlp.fc1").replace("output.dense", "mlp.fc2")
        name = name.replace("vit.layernorm", "fc_norm" if average else "norm").replace("classifier", "head")
        result[name] = array
    for i in range(config["num_hidden_layers"]):
        for ending in ("weight", "bias"):
            parts = [result.pop(f"blocks.{i}.attention.attention.{q}.{ending}") for q in ("query", "key", "value")]
            result[f"blocks.{i}.attn.qkv.{ending}"] = np.concatenate(parts)
    return result


def inputs_of(config, rows=2):
    """Images [N, C, H, W], noise [N, L] and what multiplies the logits [N, classes]."""
    rng = np.random.default_rng(7)
    height, width, patches = sizes(config)
    images = rng.standard_normal((rows, config["num_channels"], height, width)).astype(np.float32)
    noise = rng.random((rows, patches)).astype(np.float32)
    return images, noise, rng.standard_normal((rows, config.get("num_labels", 1))).astype(np.float32)


def write_folder(path, config):
    """Write the folder a Hugging Face user has, without this package's code."""
    from safetensors.numpy import save_file

    path.mkdir(parents=True, exist_ok=True)
    save_file(arrays_of(config), path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps(config))
    return path


def _published(name):
    """The published name of a parameter of transformers 5's modules."""
    name = re.sub(r"^vit\.layers\.", "vit.encoder.layer.", name)
    for now, then in (("q_proj", "attention.query"), ("k_proj", "attention.key"), ("v_proj", "attention.value")):
        name = name.replace(f".attention.{now}.", f".attention.{then}.")
    name = name.replace(".attention.o_proj.", ".attention.output.dense.")
    return name.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")


def _gradients(model):
    grads = {_published(name): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {f"grad/{name}": grad.numpy() for name, grad in grads.items()}


def load_mae(folder):
    """transformers' model; its constructor and patchify, which know squares only, are taught the grid."""
    import torch
    import transformers
    from transformers.models.vit_mae import modeling_vit_mae as module

    config = transformers.ViTMAEConfig.from_pretrained(folder)
    _, _, patches = sizes(config.to_dict())

    class AnyGrid(transformers.ViTMAEForPreTraining):
        def patchify(self, pixel_values, interpolate_pos_encoding=False):
            return super().patchify(pixel_values, interpolate_pos_encoding=True)

    original = module.build_2d_sinusoidal_position_embedding
    module.build_2d_sinusoidal_position_embedding = lambda **kw: torch.zeros(1 + patches, kw["embed_dim"])
    try:
        model, info = AnyGrid.from_pretrained(folder, output_loading_info=True)
    finally:
        module.build_2d_sinusoidal_position_embedding = original
    assert not any(info.values()), info
    return model.eval()


def run_mae(folder, config):
    """Loss, prediction, mask and gradients of transformers' ViTMAE."""
    import torch

    images, noise, _ = map(torch.from_numpy, inputs_of(config))
    model = load_mae(folder)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("pos" not in name)  # fixed, as its constructor sets it; loading forgets that
    out = model(images, noise=noise)
    out.loss.backward()
    result = {"loss": out.loss.item(), "pred": out.logits.detach().numpy(), "mask": out.mask.numpy()}
    return {**result, **_gradients(model)}


def run_vit(folder, config):
    """Logits and gradients of transformers' ViT."""
    import torch
    import transformers

    images, _, factors = map(torch.from_numpy, inputs_of(config))
    loaded = transformers.ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
    model, info = loaded
    assert not any(info.values()), info
    logits = model.eval()(images).logits
    (logits * factors).sum().backward()
    return {"logits": logits.detach().numpy(), **_gradients(model)}


def run_timm(arrays, config, average):
    """Logits and gradients of timm's ViT."""
    import torch
    from timm.models.vision_transformer import VisionTransformer

    images, _, factors = map(torch.from_numpy, inputs_of(config))
    model = VisionTransformer(
        img_size=sizes(config)[:2],
        patch_size=config["patch_size"],
        in_chans=config["num_channels"],
        num_classes=config["num_labels"],
        embed_dim=config["hidden_size"],
        depth=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        global_pool="avg" if average else "token",
    )
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    logits = model.eval()(images)
    (logits * factors).sum().backward()
    grads = {f"grad/{name}": p.grad.numpy() for name, p in model.named_parameters()}
    return {"logits": logits.detach().numpy(), **grads}


def relative_error(ours, theirs):
    """Largest difference, in units of the largest number."""
    return float(np.max(np.abs(np.asarray(ours) - theirs)) / np.max(np.abs(theirs)))


RESIZES = ((3, 3, 4, 5), (4, 4, 2, 3), (2, 5, 5, 2), (1, 1, 2, 2))  # old grid, new grid


def positions(old, dim=3):
    """A position embedding [1, 1 + L, D]."""
    rng = np.random.default_rng(9)
    return rng.standard_normal((1, 1 + old[0] * old[1], dim)).astype(np.float32)


def run_resizes():
    """Position embeddings resized by torch, the class token kept."""
    import torch

    results = {}
    for h, w, rows, columns in RESIZES:
        x = torch.from_numpy(positions((h, w)))
        grid = x[:, 1:].reshape(1, h, w, -1).permute(0, 3, 1, 2)
        grid = torch.nn.functional.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
        resized = torch.cat([x[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
        results[f"{h}x{w}_{rows}x{columns}"] = resized.numpy()
    return results


def torch_content():
    """What the golden `.pth` files hold under `model`, as NumPy."""
    a = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    return {
        "float": a,
        "turned": a.T,
        "slice": a[1:, 1:],
        "bfloat16": np.array([1.0, -2.5, 3.140625], np.float32),
        "half": np.array([0.5, 1.25], np.float16),
        "count": np.array(12, np.int64),
        "flags": np.array([True, False]),
        "parameter": np.ones(2, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }


def write_torch_files(folder):
    """Write the same content in PyTorch's two formats, with what training scripts leave beside it."""
    import argparse
    import collections

    import torch

    state = collections.OrderedDict()
    state["float"] = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7
    state["turned"], state["slice"] = state["float"].t(), state["float"][1:, 1:]
    state["bfloat16"] = torch.tensor([1.0, -2.5, 3.140625]).bfloat16()
    state["half"] = torch.tensor([0.5, 1.25]).half()
    state["count"], state["flags"] = torch.tensor(12), torch.tensor([True, False])
    state["parameter"], state["empty"] = torch.nn.Parameter(torch.ones(2)), torch.zeros(0, 3)
    args = argparse.Namespace(lr=1e-3, device="cuda", nested={"betas": (0.9, 0.95)}, best=np.float64(0.5))
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    content = {"model": state, "optimizer": optimizer, "epoch": 3, "scaler": {}, "args": args}
    torch.save(content, folder / "torch_zip.pth")
    torch.save(content, folder / "torch_stream.pth", _use_new_zipfile_serialization=False)


def main(scratch):
    """Write the golden files."""
    write_torch_files(GOLDEN.parent)
    np.savez_compressed(GOLDEN.with_name("positions.npz"), **run_resizes())
    results = {}
    for name, config in MAE_CASES.items():
        results[name] = run_mae(write_folder(scratch / name, config), config)
    config = VIT_CASES["huggingface_token"]
    results["huggingface_token"] = run_vit(write_folder(scratch / "vit", config), config)
    for name in ("timm_token", "timm_average"):
        average = name == "timm_average"
        results[name] = run_timm(timm_arrays(VIT_CASES[name], average), VIT_CASES[name], average)
    flat = {f"{case}/{key}": value for case, items in results.items() for key, value in items.items()}
    np.savez_compressed(GOLDEN, **flat)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
