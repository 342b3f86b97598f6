"""What a run has to beat: measured before its first step, and without a trace in it."""

import json

import numpy as np
import paddle
import pytest
from stage_runs import FINETUNE, assert_same, records

from mae_core.stage import yardsticks
from mae_finetune.build import build_model, eval_dataset
from mae_finetune.cli import main
from mae_finetune.config import RECIPE

TINY = FINETUNE.tiny
pytest.importorskip("sklearn")


def train(data, run, *more):
    words = ["-batch_size", 8, "-data_path", data, "-output", run, *TINY, "REPORT_FREQ", 1, *more]
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def tuned(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("tuned") / "run"
    train(data, run)
    return run


def test_figures_are_those_of_scikit_learn_on_the_start(data, tuned):
    """A pipeline of scikit-learn's, on the pooled features of each image alone and on its pixels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = json.loads((tuned / yardsticks.FILE).read_text())
    config = RECIPE.load(None, {"DATA.DATA_PATH": str(data)}, TINY)
    model = build_model(config)  # no weights were named: the start is that of SEED
    model.eval()
    rows = {"random_init": [], "raw_pixels": []}
    labels = []
    for part in ("train", "val"):
        dataset = eval_dataset(config, list_name=f"{part}_list.txt")
        samples = [dataset[i] for i in range(len(dataset))]
        with paddle.no_grad():
            features = [model.forward_features(paddle.to_tensor(image[None])).numpy()[0] for image, _, _ in samples]
        rows["random_init"].append(np.stack(features))
        rows["raw_pixels"].append(np.stack([image.transpose(2, 0, 1).ravel() for image, _, _ in samples]))
        labels.append([label for _, label, _ in samples])
    fit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit
    expected = {name: 100 * fit(x[0], labels[0]).score(x[1], labels[1]) for name, x in rows.items()}
    assert found == {"logistic": pytest.approx(expected), "C": 1.0, "train_images": 26, "images": 7}


@pytest.mark.parametrize(("bound", "value"), [("MOST_IMAGES", 25), ("MOST_WORK", 26 * 3 - 1)])
def test_the_run_is_that_without(data, tuned, tmp_path, monkeypatch, bound, value):
    monkeypatch.setattr(yardsticks, bound, value)
    train(data, tmp_path / "run")
    assert not (tmp_path / "run" / yardsticks.FILE).exists()
    assert_same(tuned, tmp_path / "run")
    assert records(tuned) == records(tmp_path / "run")


def test_a_start_from_weights_is_called_so_and_a_resumed_run_keeps_its_figures(data, tuned, tmp_path, capsys):
    train(data, tmp_path / "run", "-pretrained", tuned)
    found = json.loads((tmp_path / "run" / yardsticks.FILE).read_text())
    assert found["logistic"].keys() == {"features", "raw_pixels"}
    said = "to beat: top-1 of logistic regression for these 26 labels: frozen features"
    assert said in capsys.readouterr().out
    longer = ["-resume", "auto", "TRAIN.NUM_EPOCHS", 4, "--allow-drift", "TRAIN.NUM_EPOCHS"]
    train(data, tmp_path / "run", "-pretrained", tuned, *longer)
    assert "to beat" not in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / yardsticks.FILE).read_text()) == found


def test_what_cannot_be_measured_ends_no_run(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mae_core.evaluation.logistic.find_spec", lambda name: None)
    train(data, tmp_path / "run", "TRAIN.NUM_EPOCHS", 1, "TRAIN.WARMUP_EPOCHS", 0)
    assert "no logistic regression beside this run, which may well beat it: pip install scikit-learn" in (
        capsys.readouterr().out
    )
    assert not (tmp_path / "run" / yardsticks.FILE).exists()
