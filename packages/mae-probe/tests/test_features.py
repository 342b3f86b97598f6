"""Feature files, kNN, logistic regression, and the commands as a user starts them."""

import importlib.util

import numpy as np
import pytest
from stage_runs import PROBE, assert_never_skipped, assert_refused, broken_set

import mae_core
from mae_core.errors import UserError
from mae_core.evaluation import knn
from mae_probe.feature_file import read_features, write_features
from mae_probe.features import Features
from mae_probe.knn import knn_accuracy
from mae_probe.logistic import logistic_accuracy

TINY = PROBE.tiny

assert mae_core
needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is missing")


def blobs(n, seed, spread=1.0, classes=4, dim=6):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    labels = rng.integers(0, classes, n)
    x = centres[labels] + spread * rng.normal(size=(n, dim))
    return Features(x.astype(np.float32), labels, [f"a b/{i} é.jpg" for i in range(n)])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files_give_back_what_was_written(tmp_path, suffix):
    path, features = tmp_path / "new" / f"f{suffix}", blobs(5, 0)
    write_features(path, features)
    again = read_features(path)
    assert (again.features == features.features).all()
    assert (again.labels == features.labels).all()
    assert again.paths == features.paths
    assert again.features.dtype == np.float32


@pytest.mark.parametrize(
    "name", ["gone.npz", "text.npz", "text.safetensors", "pickle.npz", "other.npz", "short.npz", "f.csv"]
)
def test_other_files_are_refused_by_name(tmp_path, name):
    for suffix in ("npz", "safetensors"):
        (tmp_path / f"text.{suffix}").write_text("no features")
    x = np.zeros((2, 3), np.float32)
    np.savez(tmp_path / "pickle.npz", features=np.array([{}, {}], dtype=object), labels=[0, 1], paths=["a", "b"])
    np.savez(tmp_path / "other.npz", images=x)
    np.savez(tmp_path / "short.npz", features=x, labels=[0], paths=["a", "b"])
    with pytest.raises(UserError, match=name):
        read_features(tmp_path / name)


def test_knn_leaves_out_neighbours_that_are_not_there():
    train, val = blobs(120, 1), blobs(60, 2)
    found = knn_accuracy(train, val)
    assert list(found) == [10, 20, 100]
    assert found == knn.knn_accuracy(train.features, train.labels, val.features, val.labels, [10, 20, 100])


def test_knn_and_logistic_refuse_what_means_nothing():
    good = blobs(12, 0)
    unlabelled = Features(good.features, np.full(12, -1), good.paths)
    narrow = Features(good.features[:, :3], good.labels, good.paths)
    with pytest.raises(UserError, match="no label"):
        knn_accuracy(unlabelled, good)
    with pytest.raises(UserError, match="have 3 numbers, those to score 6"):
        knn_accuracy(narrow, good)
    with pytest.raises(UserError, match="12 training images"):
        knn_accuracy(good, good, [20])


@needs_sklearn
def test_logistic_regression_is_near_the_best_linear_rule():
    train, val = blobs(400, 1, spread=0.7), blobs(400, 2, spread=0.7)
    centres = np.random.default_rng(99).normal(size=(4, 6))
    nearest = ((val.features[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)  # Bayes' rule for these
    best = 100 * (nearest == val.labels).mean()
    assert best - 4 < logistic_accuracy(train, val) <= best + 1
    one = Features(train.features, np.zeros(400, np.int64), train.paths)
    with pytest.raises(UserError, match="one class"):
        logistic_accuracy(one, val)
    with pytest.raises(UserError, match="C=0"):
        logistic_accuracy(train, val, 0)


def test_without_sklearn_logistic_says_what_to_install(monkeypatch):
    monkeypatch.setattr("mae_probe.logistic.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mae-probe\[logistic\]"):
        logistic_accuracy(blobs(9, 0), blobs(9, 1))


@needs_sklearn
def test_commands_on_images_and_on_files_agree(data, pretrained, cli, tmp_path):
    source = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 5, *TINY]
    for part in ("train", "val"):
        made = cli("features", "--list", f"{part}_list.txt", "-output", tmp_path / f"{part}.npz", *source)
        assert made.returncode == 0, made.stderr
    assert "7 images, 16 numbers each" in made.stdout
    val = read_features(tmp_path / "val.npz")
    assert val.paths[4] == "val/class 1/a 4.jpg"
    assert val.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    files = ["--train", tmp_path / "train.npz", "--val", tmp_path / "val.npz"]
    from_files, from_images = cli("knn", *files, "--k", 5, "--k", 20), cli("knn", "--k", 5, "--k", 20, *source)
    assert from_files.returncode == from_images.returncode == 0, from_files.stderr + from_images.stderr
    lines = from_files.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["kNN k=5", "kNN k=20"]
    assert float(lines[0].split()[-1]) > 70  # colours tell the classes
    assert from_images.stdout.splitlines()[-2:] == lines
    logistic = cli("logistic", *files)
    assert logistic.returncode == 0, logistic.stderr
    assert float(logistic.stdout.split()[-1]) > 70


def test_features_never_skip_an_image(pretrained, cli, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", broken_set(tmp_path), *TINY, "DATA.ON_ERROR", "skip"]
    assert_never_skipped(cli("features", "-output", tmp_path / "f.npz", *args))
    assert not (tmp_path / "f.npz").exists()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["features", "-output", "f.csv"], 2, [".npz or .safetensors"]),
        (["knn", "--train", "a.npz"], 2, ["--train and --val go together"]),
        (["knn", "--train", "/nowhere/a.npz", "--val", "b.npz"], 2, ["/nowhere/a.npz"]),
        (["knn", "--k", "0"], 2, ["--k 0"]),
        (["attention", "x.jpg"], 2, ["attention needs weights"]),
    ],
)
def test_user_errors_are_one_line(cli, args, code, words):
    assert_refused(cli(*args), code, words)
