"""From every format into every other and back: each bit stays, also of numbers that arithmetic would change."""

import json

import numpy as np
import pytest

from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import read_safetensors, write_safetensors
from mae_core.weights.metadata import metadata_of

SIZES = {"img_size": (8, 12), "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
DECODER = {"decoder_embed_dim": 12, "decoder_depth": 1, "decoder_num_heads": 3}
WHOLE = {
    "own": ("mae-core", ".safetensors"),
    "paddle": ("mae-core", ".pdparams"),
    "official": ("official", ".pth"),
    "official_safetensors": ("official", ".safetensors"),
    "huggingface": ("huggingface", ""),
    "paddlevit": ("paddlevit", ".pdparams"),
    "passl": ("passl", ".pdparams"),
}
ENCODER = {**WHOLE, "timm": ("timm", ".safetensors"), "timm_pth": ("timm", ".pth")}
FACTS = {"img_size": (8, 12), "num_heads": 2}
# -0, infinities, the smallest and the largest numbers, NaNs of other payloads and signs
ODD = np.array([0x80000000, 0x7F800000, 0xFF800000, 1, 0x7F7FFFFF, 0x7FC00001, 0xFFC12345, 0x7F800001], np.uint32)


def arrays_with_odd_bits(model):
    """Every array of a model, each beginning with numbers that a computation would not keep."""
    arrays = {name: array.copy() for name, array in model_arrays(model).items()}
    for array in arrays.values():
        array.reshape(-1).view(np.uint32)[: ODD.size] = ODD[: array.size]
    return arrays


def bits(file):
    return {name: (array.shape, array.tobytes()) for name, array in read_safetensors(file)[0].items()}


def check_every_pair(folder, model, formats, facts):
    arrays = arrays_with_odd_bits(model)
    own = folder / "start.safetensors"
    write_safetensors(own, arrays, {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())})
    expected = bits(own)
    for first, (source, suffix) in formats.items():
        here = folder / f"{first}{suffix}"
        assert convert(own, here, target=source, settings=facts).left_out == []
        for second, (target, ending) in formats.items():
            there = folder / f"{first}_to_{second}{ending}"
            assert convert(here, there, source=source, target=target, settings=facts).left_out == []
            back = folder / f"{first}_{second}_back.safetensors"
            assert convert(there, back, source=target, target="mae-core", settings=facts).left_out == []
            assert bits(back) == expected, (first, second)


def test_every_pair_keeps_every_bit_of_a_masked_autoencoder(tmp_path):
    model = MaskedAutoencoderViT(**{**SIZES, "img_size": 8}, **DECODER)
    check_every_pair(tmp_path, model, WHOLE, {**FACTS, "img_size": 8, "decoder_num_heads": 3})


def test_every_pair_keeps_every_bit_of_a_classifier(tmp_path):
    check_every_pair(tmp_path, VisionTransformer(**SIZES, num_classes=9, global_pool=False), ENCODER, FACTS)


def test_every_pair_keeps_every_bit_of_a_fine_tuned_classifier(tmp_path):
    pooled = {name: way for name, way in ENCODER.items() if name != "huggingface"}  # which has no pooled head
    check_every_pair(tmp_path, VisionTransformer(**SIZES, num_classes=9), pooled, FACTS)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_are_kept(tmp_path, dtype):
    model = VisionTransformer(**SIZES, num_classes=9, global_pool=False)
    arrays = {name: array.astype(dtype) / 3 for name, array in model_arrays(model).items()}
    own = tmp_path / "start.safetensors"
    write_safetensors(own, arrays, {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())})
    for name, (target, ending) in ENCODER.items():
        there, back = tmp_path / f"{name}{ending}", tmp_path / f"{name}_back.safetensors"
        convert(own, there, target=target)
        convert(there, back, source=target, target="mae-core", settings=FACTS)
        assert bits(back) == bits(own), name
