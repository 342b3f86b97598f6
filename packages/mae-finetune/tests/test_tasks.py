"""Several labels and numbers as tasks: from a list to a run, its scores, predictions, export, page and card."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from stage_runs import FINETUNE

import mae_finetune

COMMON = ["-batch_size", 8, "TRAIN.RAND_AUGMENT", False, "TRAIN.RANDOM_ERASE_PROB", 0, "TRAIN.NUM_EPOCHS", 6]
LABELS = ["MODEL.TASK", "multilabel", "TRAIN.CUTMIX_ALPHA", 0]
NUMBERS = ["MODEL.TASK", "regress", "TRAIN.MIXUP_PROB", 0.0, "TRAIN.SMOOTHING", 0.0, "TRAIN.NUM_EPOCHS", 12]


def write_set(folder, line):
    """Write pictures whose channels are each light or dark, and lists of `line(channels)`."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("val", 16)):
        lines = []
        for i in range(count):
            light = rng.integers(0, 2, 3)
            pixels = rng.integers(0, 60, (20, 20, 3)) + 190 * light
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name} {i}.png")
            lines.append(f"{name} {i}.png {line(light)}\n")
        (folder / f"{name}_list.txt").write_text("".join(lines))
    return folder


def trained(folder, pairs):
    done = FINETUNE.start("-data_path", folder, "-output", folder / "run", *FINETUNE.tiny, *COMMON, *pairs)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout + done.stderr


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    write_set(folder, lambda light: ",".join(np.array(["red", "green", "blue"])[light > 0]) or "-")
    return *trained(folder, LABELS), folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    write_set(folder, lambda light: f"{1000 + 10 * light[0]} {light.sum() / 100}")
    return *trained(folder, [*NUMBERS, "MODEL.NUM_CLASSES", 2]), folder


def scored(run, *pairs):
    done = FINETUNE.start("-eval", "-pretrained", run, "-output", run, *pairs)
    assert done.returncode == 0, done.stderr
    return json.loads((run / "eval/scores.json").read_text()), done.stdout + done.stderr


def table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_labels_are_learnt_and_scored(labelled):
    run, log, _ = labelled
    figures, said = scored(run)
    assert figures["images"] == 16
    assert figures["map"] > 70
    assert f"mAP {figures['map']:.2f} %, macro F1" in said
    assert "(best map " in log
    last = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()][-1]
    assert last["map"] == pytest.approx(figures["map"])
    head, *rows = table(run / "eval/per_label.csv")
    assert head[:4] == ["label", "name", "images", "said"]
    assert [row[1] for row in rows] == ["red", "green", "blue"]
    assert "mAP" in (run / "MODEL_CARD.md").read_text()


def test_the_figures_of_labels_are_those_of_scikit_learn(labelled):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    run, _, _ = labelled
    figures, _ = scored(run)
    _, *rows = table(run / "eval/predictions.csv")
    values = np.array([row[2:] for row in rows], float)
    true, said = values[:, ::2], values[:, 1::2]
    assert 100 * metrics.average_precision_score(true, said) == pytest.approx(figures["map"])
    assert 100 * metrics.f1_score(true, said >= 0.5, average="macro") == pytest.approx(figures["macro_f1"])
    assert 100 * metrics.f1_score(true, said >= 0.5, average="micro") == pytest.approx(figures["micro_f1"])
    assert 100 * metrics.roc_auc_score(true, said) == pytest.approx(figures["auroc"])


def test_predictions_of_labels_have_a_column_each(labelled, tmp_path):
    run, _, folder = labelled
    done = FINETUNE.start("predict", "-pretrained", run, folder / "val 0.png", "--csv", tmp_path / "said.csv")
    assert done.returncode == 0, done.stderr
    (said,) = mae_finetune.predict(run, folder / "val 0.png")
    assert said.line() in done.stdout
    head, row = table(tmp_path / "said.csv")
    assert head == ["image", "red", "green", "blue"]
    assert [float(cell) for cell in row[1:]] == pytest.approx([guess.probability for guess in said.labels], rel=1e-5)
    refused = FINETUNE.start("predict", "-pretrained", run, folder / "val 0.png", "--topk", 2)
    assert refused.returncode == 2
    assert "topk is for models that name one class" in refused.stderr


def test_numbers_are_learnt_and_scored_beside_the_mean(measured):
    run, _, _ = measured
    figures, said = scored(run)
    assert figures["mae"] < 0.7 * figures["mae_of_mean"]
    assert f"MAE {figures['mae']:.4g}, (the training mean's {figures['mae_of_mean']:.4g})" in said
    assert f"mean absolute error {figures['mae']:.4g}" in (run / "MODEL_CARD.md").read_text()


def test_the_figures_of_numbers_are_those_of_scikit_learn(measured):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    run, _, folder = measured
    figures, _ = scored(run)
    _, *rows = table(run / "eval/predictions.csv")
    values = np.array([row[2:] for row in rows], float)
    true, said = values[:, ::2], values[:, 1::2]
    train = np.array([line.split()[-2:] for line in (folder / "train_list.txt").read_text().splitlines()], float)
    mean = np.broadcast_to(train.mean(axis=0), true.shape)
    assert metrics.mean_absolute_error(true, said) == pytest.approx(figures["mae"], rel=1e-4)
    assert metrics.root_mean_squared_error(true, said) == pytest.approx(figures["rmse"], rel=1e-4)
    assert metrics.r2_score(true, said) == pytest.approx(figures["r2"], rel=1e-4)
    assert metrics.mean_absolute_error(true, mean) == pytest.approx(figures["mae_of_mean"], rel=1e-4)
    assert metrics.root_mean_squared_error(true, mean) == pytest.approx(figures["rmse_of_mean"], rel=1e-4)
