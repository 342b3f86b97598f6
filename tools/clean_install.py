"""The files of a release in a clean environment: installed as a user installs them, they train on a few pictures."""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from environment import Environment, pip_install
from steps import run_quietly
from wheels import build_distributions
from workspace import Package, WorkspaceError

PICTURES = """
import random
from PIL import Image
for part in ("train", "val"):
    for number in range(8):
        folder = __import__("pathlib").Path("pictures", part, f"class {number % 2}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (20, 20), random.Random(number).randbytes(1200)).save(folder / f"{number}.png")
"""
TINY = """
DATA: {IMAGE_SIZE: 16, NUM_WORKERS: 0, BATCH_SIZE: 4}
MODEL: {PATCH_SIZE: 4, ENCODER: {EMBED_DIM: 16, DEPTH: 1, NUM_HEADS: 2}}
TRAIN: {NUM_EPOCHS: 1, WARMUP_EPOCHS: 0}
"""


def try_files(python: Path, packages: Mapping[str, Package], folder: Path) -> None:
    """Install the distributions of a folder with Paddle into a clean environment, pre-train, fine-tune and probe.

    Args:
        python: The interpreter of an environment that can build the packages of which the folder holds nothing.
        packages: All packages of the workspace.
        folder: Distributions of one version, as they are uploaded.

    Raises:
        WorkspaceError: The folder holds no distribution of the present version of a package.
        CommandError: They cannot be installed, or a run fails.
    """
    given = {
        name for name, package in packages.items() if list(folder.glob(f"{package.import_name}-{package.version}[-.]*"))
    }
    if not given:
        raise WorkspaceError(
            f"{folder} holds no package at its present version; make it with: tools/dev.py wheels {folder}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        place, env = Path(scratch), Environment(Path(scratch, "venv"))
        build_distributions(python, [packages[name] for name in packages if name not in given], place / "siblings")
        run_quietly([sys.executable, "-m", "venv", str(env.folder)])
        wanted = [f"{name}[cpu]=={package.version}" for name, package in packages.items()]
        pip_install(env, ["--find-links", str(folder), "--find-links", str(place / "siblings"), *wanted])
        run_quietly([str(env.python), "-c", PICTURES], cwd=place)
        (place / "tiny.yaml").write_text(TINY, encoding="utf-8")
        for stage, before in (("pretrain", []), ("finetune", ["pretrain"]), ("probe", ["pretrain"])):
            command = [str(env.folder / "bin" / f"mae-{stage}"), "-cfg", "tiny.yaml", "-data_path", "pictures"]
            weights = [word for run in before for word in ("-pretrained", run)]
            run_quietly([*command, "-output", stage, *weights], cwd=place)
