"""What the tests of the three stages share: tiny data and weights, runs as a user starts them, what these leave behind.

The stages' conftest.py files import the fixtures; pyproject.toml puts this folder on the path.
"""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm_commands
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
IS_PADDLE2 = any(d.name.startswith("paddlepaddle") and d.version.startswith("2.") for d in distributions())


@dataclass(frozen=True)
class Stage:
    """A stage's command line with a recipe for tests."""

    package: str
    kind: str  # last part of the packaged configs' names
    settings: dict[str, Any]

    @property
    def tiny(self) -> list[str]:
        """The recipe as KEY VALUE words."""
        return [str(word) for pair in (_TINY | self.settings).items() for word in pair]

    def command(self, *args: object) -> list[str]:
        return [sys.executable, "-m", self.package, *map(str, args)]

    def start(self, *args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command as a user does; returns the finished process."""
        return warm_commands.run(self.command(*args), cwd=cwd)

    def begin(self, *args: object, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start the command as a user does; returns the process."""
        return warm_commands.WarmCommand(self.command(*args), stderr=stderr)

    def ranks(self, *args: object) -> list[subprocess.Popen[str]]:
        """Start the command on two ranks, as Paddle's launcher does."""
        ends = [f"127.0.0.1:{port}" for port in free_ports(2)]
        shared = os.environ | {"PADDLE_MASTER": ends[0], "PADDLE_TRAINER_ENDPOINTS": ",".join(ends)}
        shared |= dict.fromkeys(("PADDLE_TRAINERS_NUM", "PADDLE_GLOBAL_SIZE", "PADDLE_LOCAL_SIZE"), "2")
        shared |= {"PADDLE_NNODES": "1", "PADDLE_DISTRI_BACKEND": "gloo"}
        own = ("PADDLE_TRAINER_ID", "PADDLE_GLOBAL_RANK", "PADDLE_LOCAL_RANK", "PADDLE_RANK_IN_NODE")
        envs = [{"PADDLE_CURRENT_ENDPOINT": end, **dict.fromkeys(own, str(n))} for n, end in enumerate(ends)]
        return [
            warm_commands.WarmCommand(self.command(*args), env=shared | env, stderr=subprocess.STDOUT) for env in envs
        ]

    def launch(self, *args: object) -> str:
        """Run on two ranks; returns what they logged."""
        ranks = self.ranks(*args)
        logs = "".join([rank.communicate(timeout=120)[0] for rank in ranks])
        assert [rank.returncode for rank in ranks] == [0, 0], logs[-3000:]
        return logs


def free_ports(number: int) -> list[int]:
    """Find ports that nobody listens at."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [server.getsockname()[1] for server in held]


_TINY = {
    "DATA.IMAGE_SIZE": 16,
    "DATA.NUM_WORKERS": 0,
    "MODEL.PATCH_SIZE": 4,
    "MODEL.ENCODER.EMBED_DIM": 16,
    "MODEL.ENCODER.DEPTH": 2,
    "MODEL.ENCODER.NUM_HEADS": 2,
    "TRAIN.NUM_EPOCHS": 3,
    "TRAIN.WARMUP_EPOCHS": 1,
    "REPORT_FREQ": 2,
}
_DECODER = {"MODEL.DECODER.EMBED_DIM": 8, "MODEL.DECODER.DEPTH": 1, "MODEL.DECODER.NUM_HEADS": 2}
PRETRAIN = Stage("mae_pretrain", "pretrain", {"MODEL.ENCODER.DEPTH": 1, **_DECODER})
FINETUNE = Stage("mae_finetune", "finetune", {"MODEL.NUM_CLASSES": 3, "TRAIN.BASE_LR": 0.05})
PROBE = Stage("mae_probe", "linearprobe", {"MODEL.NUM_CLASSES": 3, "TRAIN.BASE_LR": 40.0})
STAGES = (PRETRAIN, FINETUNE, PROBE)


def write_images(root: Path, part: str, number: int) -> list[str]:
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
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 training and 7 validation JPEGs with list files."""
    root = tmp_path_factory.mktemp("data")
    for part, number in (("train", 26), ("val", 7)):
        (root / f"{part}_list.txt").write_text("".join(write_images(root, part, number)))
    return root


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a pre-training run that fits the tiny recipes, at another image size."""
    import paddle

    import mae_core
    from mae_core.models import MaskedAutoencoderViT
    from mae_core.training.checkpoints.checkpoint import save_checkpoint
    from mae_core.training.optim import build_adamw
    from mae_core.weights.checkpoint_state import State

    assert mae_core
    run = tmp_path_factory.mktemp("pretrained")
    paddle.seed(11)  # not that of the commands: random weights of theirs are others
    model = MaskedAutoencoderViT(
        img_size=(16, 24), patch_size=4, embed_dim=16, depth=2, num_heads=2, decoder_embed_dim=8, decoder_depth=1,
        decoder_num_heads=2,
    )  # fmt: skip
    config = {"DATA": {"IMAGE_SIZE": [16, 24]}, "MODEL": {"TYPE": "PRETRAIN", "PATCH_SIZE": 4}}
    (run / "checkpoints").mkdir()
    save_checkpoint(run / "checkpoints", model, build_adamw(model), State(5, config=config))
    return run


def weights(run: Path, file: str = "model") -> tuple[str, dict[str, Any]]:
    """Return name and arrays of a run's newest checkpoint."""
    newest = max((run / "checkpoints").glob("step_*"))
    return newest.name, load_file(newest / f"{file}.safetensors")


def assert_same(a: Path, b: Path, atol: float = 0.0, file: str = "model") -> None:
    """Compare the newest checkpoints of two runs."""
    (step_a, weights_a), (step_b, weights_b) = weights(a, file), weights(b, file)
    assert step_a == step_b
    assert weights_a.keys() == weights_b.keys()
    for name, value in weights_a.items():
        other = weights_b[name]
        if atol and name.endswith(("qkv.bias", "kv.bias")):
            # A bias of the keys cannot change a softmax: its true gradient is zero, and Adam scales
            # what rounding leaves of it up to full steps. It says nothing.
            parts = 3 if name.endswith("qkv.bias") else 2  # the key's stands before the value's
            value, other = np.delete(np.stack([value, other]).reshape(2, parts, -1), parts - 2, axis=1)
        np.testing.assert_allclose(other, value, rtol=0, atol=atol, err_msg=name)


def records(run: Path) -> list[dict[str, Any]]:
    """Return what a run logged, but for what its speed decides."""
    timing = ("images_per_s", "data_wait", "s_per_step", "eta_s", "memory_mb", "seconds")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in timing} for line in lines]


def scores(run: Path) -> dict[str, float]:
    """Return the figures of an evaluation."""
    return json.loads((run / "eval" / "scores.json").read_text())


def assert_odd_set_counted_once(stage: Stage, run: Path, data: Path, tmp_path: Path) -> None:
    """Score the 7 images by one process, and by two of which one has 4 and the other 3."""
    args = ["-eval", "-pretrained", run, "-data_path", data, "-batch_size", 2, *stage.tiny]
    alone = stage.start(*args, "-output", tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    stage.launch(*args, "-output", tmp_path / "two")
    one, two = scores(tmp_path / "one"), scores(tmp_path / "two")
    assert one["images"] == two["images"] == 7
    assert one["val_loss"] == pytest.approx(two["val_loss"], rel=1e-6)
    for name in ("balanced_accuracy", "macro_f1", "auroc"):
        assert one[name] == two[name], name
    for table in ("per_class.csv", "confusion.csv"):
        assert (tmp_path / "one/eval" / table).read_text() == (tmp_path / "two/eval" / table).read_text()
    confusion = np.loadtxt(tmp_path / "two/eval/confusion.csv", delimiter=",")
    np.testing.assert_array_equal(confusion.sum(axis=1), [3, 2, 2])
    assert one["top1"] == pytest.approx(100 * np.trace(confusion) / 7)


def end_in_step(process: subprocess.Popen[str], step: int, number: int) -> int:
    """Send a run a signal in a step; return its exit code. The test is skipped where the run was faster."""
    for line in process.stdout or ():
        if f" step {step}/" in line:
            process.send_signal(number)
            break
    process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run was faster than the signal")
    return process.returncode


def broken_set(root: Path) -> Path:
    """Write a validation list of 5 images of which the second is cut off; returns the folder."""
    lines = write_images(root, "val", 5)
    (root / "val_list.txt").write_text("".join(lines))
    image = root / "val/class 1/a 1.jpg"
    image.write_bytes(image.read_bytes()[:200])
    return root


def assert_never_skipped(result: subprocess.CompletedProcess[str]) -> None:
    """Require that the cut off image of `broken_set` ended an evaluation."""
    assert_refused(result, 3, ["val_list.txt:2", "val/class 1/a 1.jpg", "evaluation never skips"])


def assert_refused(result: subprocess.CompletedProcess[str], code: int, words: list[str]) -> None:
    """Require one line on what is wrong, with these words, and no traceback."""
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]
