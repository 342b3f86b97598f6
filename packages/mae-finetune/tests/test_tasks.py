"""Several labels and numbers as tasks: from a list to a run, its scores, predictions, export, page and card."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from stage_runs import FINETUNE

import mae_data
import mae_finetune
from mae_finetune.cli import main

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
    assert f"mAP {figures['map']:.2f} %, by chance {figures['map_of_chance']:.2f} %, macro F1" in said
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


@pytest.mark.parametrize("command", ["-eval", "predict"])
@pytest.mark.parametrize("task", ["classify", "regress", "segment"])
def test_another_task_than_that_of_the_weights_is_refused(labelled, tmp_path, capsys, command, task):
    run, _, folder = labelled
    words = ["-output", str(tmp_path)] if command == "-eval" else [str(folder / "val 0.png")]
    assert main([command, "-pretrained", str(run), *words, "MODEL.TASK", task]) == 4
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"MODEL.TASK={task} was asked for" in line
    assert "is of MODEL.TASK=multilabel: leave MODEL.TASK out" in line


def test_numbers_are_learnt_and_scored_beside_the_mean(measured):
    run, _, _ = measured
    figures, said = scored(run)
    assert figures["mae"] < 0.7 * figures["mae_of_mean"]
    assert f"MAE {figures['mae']:.4g}, of the training mean {figures['mae_of_mean']:.4g}" in said
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


def test_two_ranks_score_as_one(labelled):
    run, _, folder = labelled
    one = scored(run)[0]
    FINETUNE.launch("-eval", "-pretrained", run, "-output", folder / "two", "-data_path", folder, "-batch_size", 3)
    two = json.loads((folder / "two/eval/scores.json").read_text())
    del one["images_per_s"], two["images_per_s"]
    assert two == pytest.approx(one, rel=1e-5)
    for name in ("per_label", "predictions"):
        assert len(table(folder / f"two/eval/{name}.csv")) == len(table(run / f"eval/{name}.csv"))


def test_predictions_of_numbers_are_in_their_units(measured, tmp_path):
    run, _, folder = measured
    scored(run)
    done = FINETUNE.start("predict", "-pretrained", run, folder / "val 0.png", "--json", tmp_path / "said.json")
    assert done.returncode == 0, done.stderr
    (said,) = json.loads((tmp_path / "said.json").read_text())["predictions"]
    assert [number["name"] for number in said["numbers"]] == ["number_0", "number_1"]
    row = next(row for row in table(run / "eval/predictions.csv") if row[1] == "val 0.png")
    assert [number["value"] for number in said["numbers"]] == pytest.approx([float(row[3]), float(row[5])], rel=1e-5)
    assert 990 < said["numbers"][0]["value"] < 1020


@pytest.mark.parametrize("file_format", ["paddle", "onnx"])
def test_an_export_gives_numbers_in_their_units(measured, tmp_path, file_format):
    if file_format == "onnx":
        pytest.importorskip("paddle2onnx", reason="extra onnx is not installed")
    run, _, folder = measured
    done = FINETUNE.start("export", "-pretrained", run, "-output", tmp_path / "out", "--format", file_format)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out/export.json").read_text())
    assert facts["outputs"][0]["shape"] == ["N", 2]
    train = np.array([line.split()[-2:] for line in (folder / "train_list.txt").read_text().splitlines()], float)
    assert facts["standardisation_undone_in_graph"]["mean"] == pytest.approx(train.mean(axis=0).tolist(), rel=1e-6)
    assert facts["standardisation_undone_in_graph"]["std"] == pytest.approx(train.std(axis=0).tolist(), rel=1e-5)
    if file_format == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        (said,) = mae_finetune.predict(run, folder / "val 0.png")
        session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx")
        pixels = mae_data.preprocess(folder / "val 0.png", 16)
        (values,) = session.run(["numbers"], {"images": pixels})
        assert values[0].tolist() == pytest.approx([number.value for number in said.numbers], rel=1e-5)


def test_an_export_of_labels_gives_their_logits(labelled, tmp_path):
    pytest.importorskip("paddle2onnx", reason="extra onnx is not installed")
    args = ["-pretrained", labelled[0], "-output", tmp_path / "out", "--bf16", "--min-agreement", 0.9]
    done = FINETUNE.start("export", *args)
    assert done.returncode == 0, done.stderr
    assert "outputs have a cosine of" in done.stdout
    facts = json.loads((tmp_path / "out/export.json").read_text())
    assert (facts["class_names"], facts["threshold"]) == (["red", "green", "blue"], 0.5)
    assert facts["outputs"][0]["name"] == "label_logits"


def test_a_page_shows_the_figures_of_the_task(labelled, measured):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    for (run, _, _), words in (
        (labelled, ("mAP", "per_label.csv")),
        (measured, ("mean absolute error", "mae_of_mean", "Worst predictions", ", is 10")),
    ):
        figures, _ = scored(run)
        done = FINETUNE.start("report", run, "--compare", f"the same={run}")
        assert done.returncode == 0, done.stderr
        page = (run / "report.html").read_text()
        assert f"{figures['val_loss']:.5g}" in page
        assert all(word in page for word in words)
        assert "cannot be shown" not in page
    refused = FINETUNE.start("report", labelled[0], "--compare", f"other={measured[0]}")
    assert refused.returncode == 2
    assert "has no map yet" in refused.stderr


def test_other_numbers_begin_with_their_own_scale(measured, tmp_path):
    """A head of another regression keeps its weights; mean and deviation are those of the new list."""
    run, _, folder = measured
    lines = (folder / "train_list.txt").read_text().splitlines()
    for name in ("train", "val"):
        text = (folder / f"{name}_list.txt").read_text()
        rows = [line.rsplit(None, 2) for line in text.splitlines()]
        (folder / f"{name}_less.txt").write_text("".join(f"{p} {float(a) / 1000} {b}\n" for p, a, b in rows))
    lists = ["DATA.TRAIN_LIST", "train_less.txt", "DATA.VAL_LIST", "val_less.txt", "TRAIN.NUM_EPOCHS", 1]
    args = ["-data_path", folder, "-output", tmp_path / "other", "-pretrained", run, *FINETUNE.tiny, *COMMON, *NUMBERS]
    done = FINETUNE.start(*args, "MODEL.NUM_CLASSES", 2, *lists)
    assert done.returncode == 0, done.stderr
    (step,) = (tmp_path / "other/checkpoints").iterdir()
    mean = float(load_file(step / "model.safetensors")["head.mean"][0])
    assert mean == pytest.approx(np.mean([float(line.split()[-2]) for line in lines]) / 1000, rel=1e-6)


def test_a_run_of_numbers_goes_on_as_if_it_had_not_stopped(measured, tmp_path):
    args = [
        "-data_path",
        measured[2],
        "-output",
        tmp_path / "run",
        *FINETUNE.tiny,
        *COMMON,
        *NUMBERS,
        "MODEL.NUM_CLASSES",
        2,
    ]
    assert FINETUNE.start(*args, "SAVE_KEEP", 20).returncode == 0
    last = max((tmp_path / "run/checkpoints").iterdir())
    whole = load_file(last / "model.safetensors")
    shutil.rmtree(last)
    done = FINETUNE.start(*args, "SAVE_KEEP", 20, "-resume", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    again = load_file(last / "model.safetensors")
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


K = "MODEL.NUM_CLASSES"
REFUSED = {
    "smoothing": ([*NUMBERS[:2], "MODEL.NUM_CLASSES", 1], "a 1.5\n", 2,
                  "takes no TRAIN.MIXUP_PROB, TRAIN.SMOOTHING (numbers are neither mixed nor smoothed); add:"
                  " TRAIN.MIXUP_PROB 0.0 TRAIN.SMOOTHING 0.0"),
    "weights": ([*LABELS, "TRAIN.CLASS_WEIGHTS", "balanced"], "a 0\n", 2, "takes no TRAIN.CLASS_WEIGHTS"),
    "best": ([*LABELS, "TRAIN.BEST_BY", "rmse"], "a 0\n", 2, "TRAIN.BEST_BY='rmse' is not one of 'map', 'macro_f1'"),
    "no class": ([*LABELS, K, 3], "a 0,1\nb 1,7\n", 3, ":2: label '7' is neither 0 to 2"),
    "no name": ([*LABELS, K, 3], "a cat\n", 3, ":1: label 'cat' is neither"),
    "not finite": ([*NUMBERS, K, 1], "a 1\nb nan\n", 3, ":2: 'nan' is not a finite number"),
    "other length": ([*NUMBERS, K, 2], "a 1,2\nb 1,2,3\n", 3, ":2: 3 numbers, 2 are needed"),
    "constant": ([*NUMBERS, K, 1], "a 2\nb 2\n", 3, "number 0 is 2 for all training images"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(tmp_path, case):
    pairs, lines, code, words = REFUSED[case]
    (tmp_path / "train_list.txt").write_text(lines)
    (tmp_path / "val_list.txt").write_text(lines)
    done = FINETUNE.start("-data_path", tmp_path, "-output", tmp_path / "run", *FINETUNE.tiny, *COMMON, *pairs)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert code != 3 or case == "constant" or "train_list.txt:" in done.stderr
    assert not list(tmp_path.glob("run/checkpoints/*"))
