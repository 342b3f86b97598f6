"""The yardstick on Fashion-MNIST: its commands on made-up garments, what it repeats, the page beside its figures."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from subprocess import STDOUT

import numpy as np
import pytest
import yaml
from warm_commands import WarmCommand

import fashion
import learning_curve
from fashion_tables import MARKS, cell, tables_of
from learning_curve import RESULTS
from workspace import ROOT

pytestmark = pytest.mark.once

PAGE = ROOT / "packages/mae-probe/docs/small_data.md"


@pytest.fixture
def garments(tmp_path: Path) -> Path:
    """Idx files of 150 and 40 images: each class has a bar at a height of its own."""
    folder = tmp_path / "idx"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 150), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = rng.integers(0, 30, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 + 2 * label : 6 + 2 * label, 4:24] += 200
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return folder


def start(words: Sequence[object], threads: int) -> WarmCommand:
    return WarmCommand([sys.executable, "-m", str(words[0]).replace("-", "_"), *words[1:]], stderr=STDOUT)


def measure(monkeypatch: pytest.MonkeyPatch, garments: Path, *words: object) -> list[dict]:
    """Run the tool; returns its records."""
    results = garments.parent / "fashion.json"
    output = garments.parent / "work"
    given = [garments, "--output", output, "--results", results, "--seeds", 3, *words]
    monkeypatch.setattr(sys, "argv", ["fashion.py", *map(str, given)])
    monkeypatch.setattr(learning_curve, "start", start)
    assert fashion.main() == 0
    return json.loads(results.read_text()) if results.exists() else []


def test_probes_are_scored_once(garments, monkeypatch, capsys):
    monkeypatch.setattr(fashion, "POOLS", ("class", "mean"))
    steps = ("--only", "knn random", "--only", "logistic pixels 10")
    knn, logistic = measure(monkeypatch, garments, *steps)
    assert (knn["step"], knn["seed"], logistic["step"]) == ("knn random", 3, "logistic pixels 10")
    assert knn["top1"].keys() == {"class", "class whitened", "mean", "mean whitened", "raw pixels"}
    assert knn["top1"]["raw pixels"] == logistic["top1"]["raw pixels"] == 100
    monkeypatch.setattr(fashion, "quietly", lambda words: pytest.fail(f"repeated: {words}"))
    assert measure(monkeypatch, garments, *steps) == [knn, logistic]
    assert "| raw pixels | 100.0 |" in capsys.readouterr().out
    assert sorted(path.name for path in garments.iterdir())[0] == "t10k-images-idx3-ubyte", "nothing is written there"


def test_trainings_go_on_from_the_pre_training_of_their_seed(garments, monkeypatch, tmp_path):
    schedules = {
        "f8": fashion.Schedule(1, 0),
        "f72": fashion.Schedule(1, 0, first="f8"),
        "r72": fashion.Schedule(2, 0, first="f8", refines=True),
    }
    monkeypatch.setattr(fashion, "SCHEDULES", schedules)
    monkeypatch.setattr(fashion, "LENGTHS", {"10": (20, 1, 0)})
    words = ("--runs", tmp_path / "elsewhere", "--only", "pretrain *", "--only", "finetune * 10")
    records = measure(monkeypatch, garments, *words)
    assert [record["step"] for record in records] == ["pretrain f8", "finetune f8 10", "finetune scratch 10"]
    assert (tmp_path / "elsewhere/f8-s3/checkpoints").is_dir()
    tuned, scratch = (
        json.loads((tmp_path / f"work/s3/finetune-{name}-10/provenance.json").read_text()) for name in ("f8", "scratch")
    )
    assert tuned != scratch
    measure(monkeypatch, garments, "--runs", tmp_path / "elsewhere", "--pretraining", "f72", "--only", "pretrain *")
    further = yaml.safe_load((tmp_path / "elsewhere/f72-s3/config.yaml").read_text())
    assert (further["MODEL"]["PRETRAINED"], further["SEED"]) == (str(tmp_path / "elsewhere/f8-s3"), 103)
    measure(monkeypatch, garments, "--runs", tmp_path / "elsewhere", "--pretraining", "r72", "--only", "pretrain *")
    refined = yaml.safe_load((tmp_path / "elsewhere/r72-s3/config.yaml").read_text())["MODEL"]
    assert (refined["TYPE"], refined["PRETRAINED"]) == ("REFINE", str(tmp_path / "elsewhere/f8-s3"))
    lines = (tmp_path / "work/data/train_10_s3.txt").read_text().splitlines()
    assert Counter(line.split()[-1] for line in lines) == dict.fromkeys("0123456789", 10)


def test_what_is_held_out_is_no_test_image(garments, monkeypatch, tmp_path):
    measure(monkeypatch, garments, "--held-out", "--only", "logistic pixels 10")
    train, val = ((tmp_path / "work/data" / f"{name}_list.txt").read_text().splitlines() for name in ("train", "val"))
    assert (len(train), len(val)) == (125, 25)
    assert all(line.startswith("train-images") for line in train + val)
    assert not set(train) & set(val)
    drawn = (tmp_path / "work/data/train_10_s3.txt").read_text().splitlines()
    assert set(drawn) <= set(train)


def test_the_pixels_are_those_of_the_list(garments, tmp_path):
    trial = fashion.Trial(garments, tmp_path, tmp_path, "f8", 0)
    (trial.data / "few.txt").write_text("train-images-idx3-ubyte[12] 2\ntrain-images-idx3-ubyte[7] 7\n")
    found = np.load(fashion.write_pixels(trial.data, "few.txt"))
    images = fashion.read_idx(garments / "train-images-idx3-ubyte")
    np.testing.assert_array_equal(found["features"], images[[12, 7]].reshape(2, 784))
    assert found["labels"].tolist() == [2, 7]


def test_a_cell_says_over_how_many_seeds():
    assert [cell(values) for values in ([], [89.46], [1.0, 2.0, 3.0])] == ["-", "89.5", "2.0 ± 1.0"]


def test_the_page_shows_the_recorded_figures():
    tables = tables_of(json.loads((RESULTS / "fashion.json").read_text()))
    assert f"{MARKS[0]}\n{tables}{MARKS[1]}" in PAGE.read_text(encoding="utf-8")
