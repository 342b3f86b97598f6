"""The page of models is what the generator makes of its data, and the commands on it convert such files."""

import shlex
from pathlib import Path

import numpy as np
import pytest

import zoo
from mae_core import cli
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.training.checkpoints.checkpoint import model_arrays
from mae_core.weights.convert import convert
from mae_core.weights.formats.safetensors_file import write_safetensors

DATA = zoo.load_zoo()
SIZES = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
HEADS = {"num_heads": 2, "decoder_num_heads": 2, "img_size": (8, 8), "patch_size": 4, "in_chans": 3}
SUFFIXES = {
    "official": ".pth",
    "huggingface": "",
    "timm": ".safetensors",
    "paddlevit": ".pdparams",
    "passl": ".pdparams",
}


def test_the_page_is_what_the_generator_makes() -> None:
    assert zoo.PAGE.read_text(encoding="utf-8") == zoo.page(DATA), "run: python3 tools/dev.py zoo"


@pytest.mark.parametrize(
    "row",
    [
        # paper's sizes: parameters, trainable, decoder side, GMACs with three quarters masked
        "| `mae_vit_base_patch16` | 111,907,840 | 111,655,680 | 26,109,184 | 9.78 = 4.41 + 5.37 |",
        "| `mae_vit_large_patch16` | 329,541,888 | 329,239,296 | 26,240,256 | 20.76 = 15.38 + 5.38 |",
        "| `mae_vit_huge_patch14` | 657,074,508 | 656,613,964 | 26,309,708 | 48.56 = 41.43 + 7.13 |",
        # classifiers, beside what PaddleViT prints
        "| `vit_base_patch16` | 86,567,656 | 86.4M | 17.56 | 17.0G |",
        "| `vit_large_patch16` | 304,326,632 | 304.1M | 61.55 | 59.9G |",
        "| `vit_huge_patch14` | 632,045,800 | 631.7M | 167.29 | 162.5G |",
    ],
)
def test_figures_are_the_known_ones(row: str) -> None:
    assert row in zoo.PAGE.read_text(encoding="utf-8")


def test_what_paddlevit_leaves_out_explains_its_figures() -> None:
    for name, claim in DATA["seed_claims"].items():
        size = zoo.model_size(name)
        dim, tokens = size.embed_dim, 1 + size.num_patches
        positions, head = tokens * dim, dim * 1000
        parameters = zoo.vit_parameters(size) + head + 1000 - positions
        assert parameters / 1e6 == pytest.approx(float(claim["params"].removesuffix("M")), abs=0.06)
        attention = size.depth * 2 * tokens * tokens * dim
        macs = (zoo.vit_macs(size) + head - attention) / 1e9
        assert macs == pytest.approx(float(claim["flops"].removesuffix("G")), rel=0.01)


def make_file(entry: dict, folder: Path) -> None:
    """Write random weights of the kind that an entry's publisher gives, under its file's name."""
    if entry["holds"] in ("classifier", "probe"):
        model = VisionTransformer(**SIZES, num_classes=3, global_pool=entry["holds"] == "classifier")
    else:
        model = MaskedAutoencoderViT(**SIZES, decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2)
    arrays = model_arrays(model)
    if entry["holds"] == "encoder":
        arrays = {name: array for name, array in arrays.items() if not name.startswith(("decoder", "mask_token"))}
    if entry["holds"] == "probe":
        head = {name: arrays.pop(name) for name in ("head.weight", "head.bias")}
        arrays |= {name.replace("head", "head.1"): array for name, array in head.items()}
        arrays |= {"head.0._mean": np.zeros(16, np.float32), "head.0._variance": np.ones(16, np.float32)}
    write_safetensors(folder / "own.safetensors", arrays, {"format": "mae-core"})
    suffix = SUFFIXES[entry["by"]]
    made = folder / f"made{suffix}"
    convert(folder / "own.safetensors", made, target=entry["by"], settings=HEADS)
    if entry["by"] == "timm":
        (folder / entry["file"]).mkdir()
        made.rename(folder / entry["file"] / "model.safetensors")
    else:
        made.rename(folder / entry["file"])


@pytest.mark.parametrize("entry", DATA["weights"], ids=lambda entry: f"{entry['by']}-{entry['name']}")
def test_conversion_commands_convert_such_files(entry: dict, tmp_path: Path, monkeypatch, capsys) -> None:
    make_file(entry, tmp_path)
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(zoo.command(entry))
    assert program == "mae-core"
    assert cli.main(arguments) == 0, capsys.readouterr().err
    assert f"({entry['by']}) -> {arguments[2]} (mae-core)" in capsys.readouterr().out
    assert Path(arguments[2]).is_file()
