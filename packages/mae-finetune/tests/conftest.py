"""A tiny data set, pre-trained weights and the command line, shared by the tests of this folder."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from tiny_finetune import command


def write_images(root, part, number):
    """Write JPEGs of three classes that differ in colour; returns their list lines."""
    rng, lines = np.random.default_rng(len(part)), []
    for i in range(number):
        label = i % 3
        pixels = rng.integers(0, 128, (4, 5, 3), dtype=np.uint8)
        pixels[..., label] += 100
        path = root / part / f"class {label}" / f"a {i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((25, 20)).save(path, quality=95)
        lines.append(f"{part}/class {label}/a {i}.jpg {label}\n")
    return lines


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """26 training and 7 validation JPEGs with list files."""
    root = tmp_path_factory.mktemp("data")
    for part, number in (("train", 26), ("val", 7)):
        (root / f"{part}_list.txt").write_text("".join(write_images(root, part, number)))
    return root


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory) -> Path:
    """The run folder of a pre-training run that fits the tiny recipe, at another image size."""
    import mae_core
    from mae_core.checkpoint import save_checkpoint
    from mae_core.models import MaskedAutoencoderViT
    from mae_core.optim import build_adamw

    assert mae_core
    run = tmp_path_factory.mktemp("pretrained")
    model = MaskedAutoencoderViT(
        img_size=(16, 24), patch_size=4, embed_dim=16, depth=2, num_heads=2, decoder_embed_dim=8, decoder_depth=1,
        decoder_num_heads=2,
    )  # fmt: skip
    config = {"DATA": {"IMAGE_SIZE": [16, 24]}, "MODEL": {"TYPE": "PRETRAIN", "PATCH_SIZE": 4}}
    (run / "checkpoints").mkdir()
    save_checkpoint(run / "checkpoints", 5, model, build_adamw(model), {"config": config})
    return run


@pytest.fixture
def cli():
    """Run `mae-finetune` as a user does; returns the finished process."""
    return lambda *args: subprocess.run(command(*args), capture_output=True, text=True, timeout=300)
