"""Converted backbones in PaddleClas, PaddleSeg and PaddleDetection: their code loads the file and gives our features.

Their pinned OpenCV and NumPy fit no other package, so no extra has them: `uv pip install --no-deps paddleclas==2.6.0
paddleseg==2.8.0 paddledet==2.6.0 opencv-python-headless faiss-cpu pycocotools shapely pandas easydict ujson
prettytable terminaltables typeguard` and `uv pip install requests six "setuptools<81"`. Without them these tests
are skipped; those of names and shapes are not.
"""

import json

import numpy as np
import paddle
import pytest

from mae_core import cli
from mae_core.errors import CheckpointError
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.weights.adaptation import resize_positions
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors
from mae_core.weights.layouts import LAYOUTS
from mae_core.weights.metadata import metadata_of
from mae_core.weights.sources import read_weights

DIM, SIDE = 24, 12
SIZES = {"patch_size": 4, "embed_dim": DIM, "depth": 2, "num_heads": 3}
THEIRS = {**SIZES, "img_size": SIDE, "qkv_bias": True, "epsilon": 1e-6}
TOOLKITS = ("paddleclas", "paddleseg", "paddledet")


def make_vit(**kwargs):
    """A classifier of the class token, with norms and biases away from their trivial values."""
    model = VisionTransformer(**{"img_size": SIDE, "num_classes": 5, "global_pool": False, **SIZES, **kwargs})
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.set_value(parameter.numpy() + 0.2 * rng.standard_normal(parameter.shape).astype("float32"))
    model.eval()
    return model


def images(rows=SIDE, columns=SIDE):
    return paddle.to_tensor(np.random.default_rng(1).standard_normal((2, 3, rows, columns)).astype("float32"))


def written(folder, model, target):
    """Convert a model as the command does; return the file and the report."""
    header = {"format": "mae-core", "architecture": json.dumps(metadata_of(model).known())}
    write_safetensors(folder / "own.safetensors", model_arrays(model), header)
    done = convert(folder / "own.safetensors", folder / f"{target}.pdparams", target=target)
    return done.destination, done


def import_theirs(name):
    """Import one of their modules; skip where the package or what it imports is missing."""
    return pytest.importorskip(name, reason=f"{name.partition('.')[0]} cannot be imported", exc_type=ImportError)


def check(found, expected, **kwargs):
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-5, **kwargs)


def tokens(model, pictures):
    """Patch tokens behind each block, without the last norm."""
    return [block[:, 1:] for block in model.forward_intermediates(pictures, norm=False)]


def test_paddleclas_loads_the_file_and_gives_our_logits(tmp_path):
    theirs = import_theirs("paddleclas.ppcls.arch.backbone.model_zoo.vision_transformer")
    model = make_vit()
    file, _ = written(tmp_path, model, "paddleclas")
    vit = theirs.VisionTransformer(class_num=5, **THEIRS)
    theirs._load_pretrained(str(file), vit, "")  # what their `pretrained=` does
    vit.eval()
    check(vit(images()), model(images()))


def test_paddleclas_mae_takes_the_encoder(tmp_path):
    """`MAE_vit_base_patch16` is their other ViT: it has a bias of the patches only where `conv_bias` says so."""
    theirs = import_theirs("paddleclas.ppcls.arch.backbone.model_zoo.foundation_vit")
    model = make_vit(num_classes=0)
    file, _ = written(tmp_path, model, "paddleclas")
    vit = theirs.VisionTransformer(model_name="MAE_vit_base_patch16", class_num=0, conv_bias=True, **THEIRS)
    theirs._load_pretrained(str(file), vit, "")
    vit.eval()
    check(vit.forward_features(images()), model.forward_intermediates(images(), [-1])[0][:, 0])


@pytest.mark.parametrize("side", [SIDE, 24])  # of the file, and one that they resize the positions for
def test_paddleseg_loads_the_file_and_gives_our_tokens(tmp_path, side):
    theirs = import_theirs("paddleseg.models.backbones.vision_transformer")
    model = make_vit()
    file, _ = written(tmp_path, model, "paddleseg")
    vit = theirs.VisionTransformer(**{**THEIRS, "img_size": side}, final_norm=True, pretrained=str(file))
    vit.eval()
    model = resized(model, (side, side))
    found, shape = vit(images(side, side))
    assert shape.tolist()[2:] == [side // 4, side // 4]
    check(found[0], tokens(model, images(side, side))[0])
    check(found[1], model.forward_intermediates(images(side, side), [-1])[0][:, 1:])


@pytest.mark.parametrize("rows_columns", [(SIDE, SIDE), (16, 24)])
def test_paddledet_loads_the_file_and_gives_our_tokens(tmp_path, rows_columns):
    """Also without the biases of the keys, and at other sizes of images than the file's, which they resize for."""
    theirs = import_theirs("ppdet.modeling.backbones.vision_transformer")
    model = make_vit()
    file, _ = written(tmp_path, model, "paddledet")
    arguments = {**THEIRS, "img_size": [SIDE, SIDE], "out_indices": [0, 1], "with_fpn": False}
    vit = theirs.VisionTransformer(pretrained=str(file), **arguments)
    vit.eval()
    found = vit({"image": images(*rows_columns)})
    for ours, maps in zip(tokens(resized(model, rows_columns), images(*rows_columns)), found, strict=True):
        check(maps.flatten(2).transpose([0, 2, 1]), ours)


def resized(model, size):
    """The same model for images of another size."""
    grid = (size[0] // 4, size[1] // 4)
    arrays = model_arrays(model)
    arrays["pos_embed"] = resize_positions(arrays["pos_embed"], (SIDE // 4, SIDE // 4), grid)
    other = make_vit(img_size=size)
    other.set_state_dict(arrays)
    return other


def expected_shapes(depth=2):
    """Names and shapes of their `state_dict`, as far as the three agree."""
    block = {
        "norm1.weight": [DIM], "norm1.bias": [DIM], "norm2.weight": [DIM], "norm2.bias": [DIM],
        "attn.qkv.weight": [DIM, 3 * DIM], "attn.proj.weight": [DIM, DIM], "attn.proj.bias": [DIM],
        "mlp.fc1.weight": [DIM, 4 * DIM], "mlp.fc1.bias": [4 * DIM],
        "mlp.fc2.weight": [4 * DIM, DIM], "mlp.fc2.bias": [DIM],
    }  # fmt: skip
    return {
        "cls_token": [1, 1, DIM], "pos_embed": [1, 10, DIM],
        "patch_embed.proj.weight": [DIM, 3, 4, 4], "patch_embed.proj.bias": [DIM],
        **{f"blocks.{i}.{name}": shape for i in range(depth) for name, shape in block.items()},
    }  # fmt: skip


def own_shapes(target):
    """The rest: where the bias of qkv is, what is behind the blocks."""
    if target == "paddledet":
        return {f"blocks.{i}.attn.{letter}_bias": [DIM] for i in range(2) for letter in "qv"}
    biases = {f"blocks.{i}.attn.qkv.bias": [3 * DIM] for i in range(2)}
    head = {"head.weight": [DIM, 5], "head.bias": [5]} if target == "paddleclas" else {}
    return biases | {"norm.weight": [DIM], "norm.bias": [DIM]} | head


@pytest.mark.parametrize("target", TOOLKITS)
def test_files_have_their_names_and_shapes_and_say_what_is_left_out(tmp_path, target):
    file, done = written(tmp_path, make_vit(), target)
    found = {name: list(np.asarray(array).shape) for name, array in paddle.load(str(file)).items()}
    assert found == expected_shapes() | own_shapes(target)
    head, norm = ["head.bias", "head.weight"], ["norm.bias", "norm.weight"]
    keys = [f"blocks.{i}.attn.k.bias" for i in range(2)]
    expected = {"paddleclas": [], "paddleseg": head, "paddledet": keys + head + norm}[target]
    assert sorted(done.left_out) == expected
    side = [SIDE, SIDE] if target == "paddledet" else SIDE
    sizes = f"patch_size=4 embed_dim={DIM} depth=2 num_heads=3 mlp_ratio=4.0 qkv_bias=True epsilon=1e-6"
    assert done.remarks[0] == f"VisionTransformer takes img_size={side} {sizes}"
    assert any("softmax cancels them" in line for line in done.remarks) == (target == "paddledet")


def test_biases_of_query_and_value_are_the_first_and_the_last_third(tmp_path):
    model = make_vit()
    found = paddle.load(str(written(tmp_path, model, "paddledet")[0]))
    bias = model.blocks[1].attn.qkv.bias.numpy()
    np.testing.assert_array_equal(found["blocks.1.attn.q_bias"], bias[:DIM])
    np.testing.assert_array_equal(found["blocks.1.attn.v_bias"], bias[2 * DIM :])


@pytest.mark.parametrize("target", TOOLKITS)
def test_their_files_are_read(tmp_path, target):
    """With nothing said: PaddleClas' and PaddleSeg's names are PASSL's. A zero stands for a bias of the keys."""
    model = make_vit(num_classes=0)
    file, _ = written(tmp_path, model, target)
    assert read_weights(file).source == ("paddledet" if target == "paddledet" else "passl")
    for source in ("auto", target):
        found = read_weights(file, source)
        assert found.unknown == []
        other = make_vit(num_classes=0)
        other.set_state_dict(found.arrays)
        for ours, theirs in zip(tokens(model, images()), tokens(other, images()), strict=True):
            check(theirs, ours)


@pytest.mark.parametrize("target", ["paddleseg", "paddledet"])
def test_the_backbone_of_a_whole_segmenter_or_detector_is_read(tmp_path, target):
    model = make_vit(num_classes=0)
    file, _ = written(tmp_path, model, target)
    arrays = {f"backbone.{name}": array for name, array in paddle.load(str(file)).items()}
    paddle.save(arrays | {"neck.fpn.weight": np.ones([2, 2], "float32")}, str(file))
    found = read_weights(file)
    assert found.unknown == ["neck.fpn.weight"]
    np.testing.assert_array_equal(found.arrays["pos_embed"], model.pos_embed.numpy())
    assert found.arrays["blocks.1.attn.qkv.bias"].shape == (3 * DIM,)


@pytest.mark.parametrize("target", TOOLKITS)
def test_the_encoder_of_pre_training_goes_without_its_decoder(tmp_path, target):
    mae = MaskedAutoencoderViT(img_size=SIDE, **SIZES, decoder_embed_dim=12, decoder_depth=1, decoder_num_heads=3)
    file, done = written(tmp_path, mae, target)
    missing = {name for name in mae.state_dict() if name.startswith("decoder") or name == "mask_token"}
    assert missing <= set(done.left_out)
    assert {name for name in done.left_out if "decoder" in name or "mask" in name} == missing
    names = expected_shapes() | own_shapes(target)
    assert paddle.load(str(file)).keys() == {name for name in names if not name.startswith("head")}


def test_what_they_cannot_hold_is_refused_and_nothing_is_written(tmp_path, capsys):
    with pytest.raises(CheckpointError, match="no average-pooled head"):
        written(tmp_path, make_vit(global_pool=True), "paddleclas")
    for target in ("paddleclas", "paddleseg"):
        with pytest.raises(CheckpointError, match="square images only"):
            written(tmp_path, make_vit(img_size=(8, 12)), target)
    assert list(tmp_path.glob("*.pdparams")) == []
    written(tmp_path, make_vit(img_size=(8, 12)), "paddledet")
    assert cli.main(["convert", str(tmp_path / "own.safetensors"), str(tmp_path / "x.pth"), "--to", "paddleseg"]) == 2
    assert "cannot be written as paddleseg; it takes .pdparams" in capsys.readouterr().err


def test_the_help_names_every_layout():
    assert cli.LAYOUTS.split(", ") == list(LAYOUTS)
