"""What the demo and the learning curve are made of: commands side by side, few labels, figures, the report."""

import io
import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from stage_runs import IS_PADDLE2

from demo_report import DIGITS_SHOWN, FEW, Results, write_report
from digits import PER_CLASS, call, call_together, few_labels, top1, words_of, write_initial_weights
from learning_curve import KNN, LOGISTIC, RESULTS, SCRATCH, STEPS, TUNED, TUNED_ALL, Measured, mean_over_seeds

PYTHON = Path(sys.executable).name


def test_commands_side_by_side_give_their_own_output(capfd: pytest.CaptureFixture[str]) -> None:
    wait = "import time; time.sleep(0.5); print('first')"
    assert call_together([[PYTHON, "-c", wait], [PYTHON, "-c", "print('second')"]]) == ["first\n", "second\n"]
    shown = capfd.readouterr().out
    assert shown.count("second\n") == shown.count("first\n") == 1
    assert shown.index("first\n") < shown.index("second\n"), "the second's output waits for the first to end"


@pytest.mark.parametrize("codes", [(3, 0), (0, 3)])
def test_a_failure_ends_the_program_with_its_code(codes: tuple[int, int]) -> None:
    with pytest.raises(SystemExit) as ended:
        call_together([[PYTHON, "-c", f"raise SystemExit({code})"] for code in codes])
    assert ended.value.code == 3


def test_threads_are_shared_and_the_users_number_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    show = [PYTHON, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"]
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (call(*show), call_together([show, show])) == ("4\n", ["2\n", "2\n"])
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert call(*show) == "7\n"


def test_few_labels_are_the_same_number_of_each_class(tmp_path: Path) -> None:
    every = [f"train/{digit}/a {i}.jpg {digit}" for digit in range(10) for i in range(PER_CLASS + 5)]
    (tmp_path / "train_list.txt").write_text("\n".join(every) + "\n")
    lists = [(tmp_path / few_labels(tmp_path, seed)).read_text() for seed in (0, 1)]
    assert few_labels(tmp_path, 0) == few_labels(tmp_path, 0) != few_labels(tmp_path, 1)
    assert lists[0] == (tmp_path / few_labels(tmp_path, 0)).read_text() != lists[1]
    lines = lists[0].splitlines()
    assert len(set(lines)) == len(lines)
    assert set(lines) <= set(every)
    assert Counter(line.rsplit(" ", 1)[1] for line in lines) == dict.fromkeys(map(str, range(10)), PER_CLASS)


def test_initial_weights_are_those_that_pre_training_starts_from(tmp_path: Path) -> None:
    from mae_pretrain.build import build_model
    from mae_pretrain.config import RECIPE

    pairs = words_of({"MODEL.ENCODER.DEPTH": 1, "SEED": 5, "TRAIN.LINEAR_SCALED_LR": None})
    written = load_file(write_initial_weights(tmp_path / "a/initial.safetensors", pairs))
    model = build_model(RECIPE.load("vit_digits_32_pretrain", pairs=list(map(str, pairs))))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(written.pop(name), value.numpy())
    assert not written


def test_the_accuracy_is_read_from_what_the_command_writes(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text('{"top1": {"10": 97.33}, "images": 4}')
    assert top1(file) == 97.33
    file.write_text('{"top1": 80.5}')
    assert top1(file) == 80.5
    file.write_text('{"top1": {"10": 97.33, "20": 97.0}}')
    with pytest.raises(ValueError, match="unpack"):
        top1(file)


def test_means_are_over_seeds_alone() -> None:
    last = STEPS[-1]
    records = [Measured(seed, step, TUNED, None, 90.0 + seed + step / last) for seed in range(3) for step in (0, last)]
    records += [Measured(s, 0, SCRATCH, r, 80 + s + r) for s in (0, 1) for r in (1, 2)]
    means = mean_over_seeds(records)
    assert means == {(TUNED, 0, None): 91, (TUNED, STEPS[-1], None): 92, (SCRATCH, 0, 1): 81.5, (SCRATCH, 0, 2): 82.5}


def test_the_recorded_curve_shows_that_pre_training_pays() -> None:
    """What the README says of it, as three seeds' means: change both together."""
    means = mean_over_seeds(
        Measured(**{"rate": None} | record) for record in json.loads((RESULTS / "learning_curve.json").read_text())
    )
    scratch = max(accuracy for (way, _, _), accuracy in means.items() if way == SCRATCH)
    last = STEPS[-1]
    assert means[KNN, last, None] >= 85
    assert means[TUNED, last, None] - scratch >= 5
    assert means[TUNED_ALL, last, None] >= 98
    figures = (means[KNN, last, None], means[LOGISTIC, last, None], means[TUNED, last, None], scratch)
    readme = (RESULTS.parents[1] / "README.md").read_text()
    assert all(f"{figure:.1f}" in readme for figure in figures)


class Sources(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]


def test_the_report_holds_everything_in_one_file(tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="the report extra is not installed")
    picture = io.BytesIO()
    Image.new("L", (4, 4)).save(picture, "png")
    digits = tmp_path / "digits"
    (digits / "val").mkdir(parents=True)
    (digits / "val/8.jpg").write_bytes(picture.getvalue())
    for name in ("finetune", "scratch", "features", "pixels"):
        (tmp_path / name / "eval").mkdir(parents=True)
        records = [{"step": s, "epoch": s, "top1": 50.0 + s} for s in (1, 2)]
        records += [{"step": s, "epoch": s, "loss": 2.0 / s, "lr": 0.1} for s in (1, 2)]
        (tmp_path / name / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (tmp_path / name / "config.yaml").write_text(f"DATA: {{DATA_PATH: '{digits}'}}\n")
    (tmp_path / "finetune/eval/confusion.csv").write_text("7,1\n0,9\n")
    (tmp_path / "finetune/eval/predictions.csv").write_text(
        "index,image,class,predicted,probability\n3,val/8.jpg,0,1,0.6\n"
    )
    results = Results(
        {"MAE": 0.0123, "mean image": 0.05},
        {"kNN <k>": {"MAE": 98.04, "random init": 71.0}, FEW: {"MAE": 93.6, "random init": 88.0}},
        12,
    )
    page = write_report(tmp_path, results).read_text()
    sources = Sources()
    sources.feed(page)
    assert len([source for source in sources.found if source.startswith("data:image/png;base64,")]) == 2
    assert all(source.startswith(("data:", "#")) for source in sources.found), "refers to another file"
    for words in (
        "98.0",
        "71.0",
        "0.0123",
        "kNN &lt;k&gt;",
        "12 s",
        "--share: 0.125",
        "#mistake-0-1",
        "60% sure",
        "None are shown",
    ):
        assert words in page
    assert "93.6 % with 10 labels per class, 88.0 % without pre-training</h1>" in page
    assert page.count('class="elsewhere"') == 1, "the recorded curve is of another experiment"


@pytest.mark.slow
@pytest.mark.skipif(IS_PADDLE2, reason="a minute; its commands are tested on both Paddles")
def test_the_demo_runs_to_its_report(tmp_path: Path) -> None:
    words = [sys.executable, RESULTS.parent / "demo.py", "--output", tmp_path, "TRAIN.NUM_EPOCHS", 2]
    done = subprocess.run([*map(str, words), "TRAIN.WARMUP_EPOCHS", "0"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    run = tmp_path / "run-1"
    page = (run / "report.html").read_text()
    assert re.findall(r'class="head">([^<]*)<', page) == ["original", "masked", "reconstruction + visible"]
    assert "None are shown" not in page
    assert page.count("data:image/png;base64,") > 3 * DIGITS_SHOWN
    results = json.loads((run / "results.json").read_text())
    assert all(20 < top1 <= 100 for row in results["accuracy"].values() for top1 in row.values())  # guessing: 10
    assert results["reconstruction_mse"]["MAE"] < results["reconstruction_mse"]["inpainting"]
