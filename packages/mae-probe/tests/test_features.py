"""Feature files, kNN, logistic regression, and the commands as a user starts them."""

import importlib.util
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from stage_runs import PROBE, assert_refused, broken_set, weights

import mae_core
from mae_core.errors import UserError
from mae_core.evaluation.features import figures_by_k
from mae_probe.build import eval_dataset
from mae_probe.classifiers import knn_figures, logistic_figures
from mae_probe.cli import main
from mae_probe.commands.features import SUFFIXES
from mae_probe.commands.flags import POOLS
from mae_probe.config import RECIPE
from mae_probe.extraction.feature_file import FORMATS, read_features, write_features
from mae_probe.extraction.feature_set import Features
from mae_probe.extraction.pooling import POOLS as POOLINGS

TINY = PROBE.tiny

assert mae_core
needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is missing")


def blobs(n, seed, spread=1.0, classes=4, dim=6):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    labels = rng.integers(0, classes, n)
    x = centres[labels] + spread * rng.normal(size=(n, dim))
    return Features(x.astype(np.float32), labels, [f"a b/{i} é.jpg" for i in range(n)])


def need_pyarrow(suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="extra parquet is not installed")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".csv", ".parquet"])
@pytest.mark.parametrize("windows", [None, np.arange(20).reshape(5, 4)])
def test_files_give_back_what_was_written(tmp_path, suffix, windows):
    need_pyarrow(suffix)
    path, features = tmp_path / "new" / f"f{suffix}", replace(blobs(5, 0), windows=windows)
    write_features(path, features)
    again = read_features(path)
    assert (again.windows is None) if windows is None else (again.windows == windows).all()
    assert (again.features == features.features).all()
    assert (again.labels == features.labels).all()
    assert again.paths == features.paths
    assert again.features.dtype == np.float32


FAULTY = "gone.npz text.npz text.safetensors pickle.npz other.npz short.npz f.txt text.csv short.csv text.parquet"


@pytest.mark.parametrize("name", FAULTY.split())
def test_other_files_are_refused_by_name(tmp_path, name):
    need_pyarrow(name[-8:])
    (tmp_path / "short.csv").write_text("path,label,f0,f1\na,0,1,2\nb,1,3\n")
    for suffix in ("npz", "safetensors", "csv", "parquet"):
        (tmp_path / f"text.{suffix}").write_text("no features")
    x = np.zeros((2, 3), np.float32)
    np.savez(tmp_path / "pickle.npz", features=np.array([{}, {}], dtype=object), labels=[0, 1], paths=["a", "b"])
    np.savez(tmp_path / "other.npz", images=x)
    np.savez(tmp_path / "short.npz", features=x, labels=[0], paths=["a", "b"])
    with pytest.raises(UserError, match=name):
        read_features(tmp_path / name)


def test_knn_leaves_out_neighbours_that_are_not_there():
    train, val = blobs(120, 1), blobs(60, 2)
    found = knn_figures(train, val)
    assert list(found) == [10, 20, 100]
    assert found == figures_by_k(train.features, train.labels, val.features, val.labels, [10, 20, 100])


def test_knn_and_logistic_refuse_what_means_nothing():
    good = blobs(12, 0)
    unlabelled = Features(good.features, np.full(12, -1), good.paths)
    narrow = Features(good.features[:, :3], good.labels, good.paths)
    with pytest.raises(UserError, match="no label"):
        knn_figures(unlabelled, good)
    with pytest.raises(UserError, match="have 3 numbers, those to score 6"):
        knn_figures(narrow, good)
    with pytest.raises(UserError, match="12 training images"):
        knn_figures(good, good, [20])


def test_whitening_finds_classes_behind_loud_directions():
    """Two directions without meaning hide the others from a cosine."""
    train, val = blobs(400, 1, spread=0.5), blobs(200, 2, spread=0.5)
    rng = np.random.default_rng(3)
    loud = [
        Features(np.hstack([f.features, 100 * rng.normal(size=(len(f.labels), 2))]).astype(np.float32), f.labels, [])
        for f in (train, val)
    ]
    plain, whitened = (knn_figures(*loud, [10], whiten=w)[10]["top1"] for w in (False, True))
    assert plain < 60 < 80 < whitened
    with pytest.raises(UserError, match="--whiten: 400 rows of features do not vary"):
        knn_figures(Features(np.ones_like(train.features), train.labels, []), val, [10], whiten=True)


@needs_sklearn
def test_logistic_regression_is_near_the_best_linear_rule():
    train, val = blobs(400, 1, spread=0.7), blobs(400, 2, spread=0.7)
    centres = np.random.default_rng(99).normal(size=(4, 6))
    nearest = ((val.features[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)  # Bayes' rule for these
    best = 100 * (nearest == val.labels).mean()
    assert best - 4 < logistic_figures(train, val)["top1"] <= best + 1
    hits = 0.0
    for label in range(4):  # an image's class does not depend on the images that are scored beside it
        part = val.labels == label
        among = Features(val.features[part], val.labels[part], val.paths)
        hits += logistic_figures(train, among)["top1"] * part.sum()
    assert hits / 400 == pytest.approx(logistic_figures(train, val)["top1"])
    few = Features(train.features[train.labels < 3], train.labels[train.labels < 3], [])  # a class was never seen
    assert 50 < logistic_figures(few, val)["balanced_accuracy"] < 75 < logistic_figures(few, val)["auroc"]
    one = Features(train.features, np.zeros(400, np.int64), train.paths)
    with pytest.raises(UserError, match="one class"):
        logistic_figures(one, val)
    with pytest.raises(UserError, match="C=0"):
        logistic_figures(train, val, 0)


def test_without_sklearn_logistic_says_what_to_install(monkeypatch):
    monkeypatch.setattr("mae_core.evaluation.logistic.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mae-probe\[logistic\]"):
        logistic_figures(blobs(9, 0), blobs(9, 1))


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
    said = re.fullmatch(r"kNN k=5: top-1 (\S+) balanced accuracy (\S+) macro F1 (\S+) AUROC (\S+)", lines[0])
    assert all(float(figure) > 70 for figure in said.groups())  # colours tell the classes
    first = from_images.stdout.splitlines().index(lines[0])
    assert from_images.stdout.splitlines()[first : first + 2] == lines
    header, *table = [re.split(r"  +", line) for line in from_images.stdout.splitlines()[first + 2 : first + 6]]
    assert header == ["kNN, top-1", "k=5", "k=20"]
    assert [row[0] for row in table] == ["these features", "random init", "raw pixels"]
    assert table[0][1] == said[1]
    assert min(float(figure) for figure in table[2][1:]) > 50
    logistic = cli("logistic", *files)
    assert logistic.returncode == 0, logistic.stderr
    assert re.match(
        r"logistic regression C=1: top-1 (\S+) balanced accuracy \S+ macro F1 \S+ AUROC \S+\n", logistic.stdout
    )
    assert float(logistic.stdout.split()[-1]) > 70


@needs_sklearn
def test_random_weights_and_raw_pixels_stand_beside_by_default(data, pretrained, tmp_path, capsys):
    """Random weights as `--random-init` has them; pixels as scikit-learn and a plain loop score the images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def told(*args):
        words = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 5, *TINY, "--no-cache", "--json", "-"]
        assert main([str(word) for word in (*args, *words)]) == 0
        return json.loads(capsys.readouterr().out)

    config = RECIPE.load(None, {"DATA.DATA_PATH": str(data)}, [str(word) for word in TINY])
    pixels, labels = [], []
    for part in ("train", "val"):
        dataset = eval_dataset(config, f"{part}_list.txt")
        samples = [dataset[i] for i in range(len(dataset))]
        pixels.append(np.stack([image.transpose(2, 0, 1).ravel() for image, _, _ in samples]).astype(np.float64))
        labels.append(np.array([label for _, label, _ in samples]))
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in pixels]
    nearest = (unit[1] @ unit[0].T).argmax(axis=1)
    for more in ([], ["--whiten", "--pool", "mean"]):
        found, random = told("knn", "--k", 1, *more), told("knn", "--k", 1, *more, "--random-init")
        assert found["random_init"] == random["top1"]
        assert found["raw_pixels"] == random["raw_pixels"] == {"1": 100 * np.mean(labels[0][nearest] == labels[1])}
        assert "random_init" not in random
    found, random = told("logistic", "--C", 0.01), told("logistic", "--C", 0.01, "--random-init")
    assert found["random_init"] == random["top1"]
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(pixels[0], labels[0])
    assert found["raw_pixels"] == pytest.approx(100 * fitted.score(pixels[1], labels[1]))
    assert not {"random_init", "raw_pixels"} & told("logistic", "--no-yardsticks").keys()


def test_help_names_the_suffixes_and_pools_that_there_are():
    assert tuple(FORMATS) == SUFFIXES
    assert tuple(POOLINGS) == POOLS


def test_pooled_and_whitened_features_of_images_and_of_files_agree(data, pretrained, cli, tmp_path):
    source = ["-pretrained", pretrained, "-data_path", data, "-batch_size", 5, *TINY, "--pool", "grid2"]
    for part in ("train", "val"):
        made = cli("features", "--list", f"{part}_list.txt", "-output", tmp_path / f"{part}.npz", *source)
        assert made.returncode == 0, made.stderr
    assert "7 images, 64 numbers each" in made.stdout
    files = ["--train", tmp_path / "train.npz", "--val", tmp_path / "val.npz"]
    flags = ["--whiten", "--k", 5, "--json", "-"]
    from_files, from_images = cli("knn", *files, *flags), cli("knn", *source, *flags)
    assert from_files.returncode == from_images.returncode == 0, from_files.stderr + from_images.stderr
    one, other = json.loads(from_files.stdout), json.loads(from_images.stdout)
    assert one["top1"] == other["top1"]
    assert (one["whitened"], one["pool"]) == (True, None)
    assert (other["whitened"], other["pool"]) == (True, "grid2")


def test_a_table_is_what_its_reader_expects(tmp_path):
    pa = pytest.importorskip("pyarrow.parquet", reason="extra parquet is not installed")
    features = blobs(5, 0)
    write_features(tmp_path / "f.parquet", features)
    table = pa.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["path", "label", "features"]
    assert table["path"].to_pylist() == features.paths
    np.testing.assert_array_equal(np.array(table["features"].to_pylist(), np.float32), features.features)
    write_features(tmp_path / "f.csv", features)
    header, first = (tmp_path / "f.csv").read_text().splitlines()[:2]
    assert header == "path,label,f0,f1,f2,f3,f4,f5"
    assert first.split(",")[0] == features.paths[0]


def test_without_pyarrow_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("mae_probe.extraction.feature_tables.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mae-probe\[parquet\]"):
        write_features(tmp_path / "f.parquet", blobs(5, 0))


def test_random_weights_are_a_yardstick_that_reads_no_weights(data, pretrained, cli, tmp_path):
    source = ["-data_path", data, "-batch_size", 5, *TINY]
    plain = cli("features", "--random-init", *source, "-output", tmp_path / "r.npz")
    assert plain.returncode == 0, plain.stderr
    assert "--random-init: the features are those of random weights" in plain.stdout
    beside = cli("knn", "--random-init", "-pretrained", pretrained, *source)
    assert beside.returncode == 0, beside.stderr
    assert "weights:" not in beside.stdout
    trained = cli("knn", "-pretrained", pretrained, *source)
    assert trained.returncode == 0, trained.stderr
    assert "weights:" in trained.stdout
    assert "head." not in trained.stdout + trained.stderr
    made = cli("--random-init", "-pretrained", pretrained, *source, "-output", tmp_path / "probe")
    assert made.returncode == 0, made.stderr
    assert "weights:" not in made.stdout
    trained, random = weights(tmp_path / "probe")[1], read_features(tmp_path / "r.npz").features
    assert (trained["cls_token"] != weights(pretrained)[1]["cls_token"]).all()
    again = cli("features", "-pretrained", tmp_path / "probe", *source, "-output", tmp_path / "s.npz")
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(read_features(tmp_path / "s.npz").features, random)


def test_features_of_all_but_a_bad_image_or_none(pretrained, cli, tmp_path):
    args = ["-pretrained", pretrained, "-data_path", broken_set(tmp_path), *TINY]
    done = cli("features", "-output", tmp_path / "f.npz", *args)
    assert done.returncode == 0, done.stderr
    found = read_features(tmp_path / "f.npz")
    lines = (tmp_path / "val_list.txt").read_text().splitlines()
    assert found.paths == [line.rpartition(" ")[0] for i, line in enumerate(lines) if i != 1]
    assert found.labels.tolist() == [int(line.rpartition(" ")[2]) for i, line in enumerate(lines) if i != 1]
    assert np.abs(found.features).sum(axis=1).min() > 0
    assert "1 of 5 images could not be used" in done.stdout
    refused = cli("features", "-output", tmp_path / "g.npz", *args, "DATA.ON_ERROR", "raise")
    assert_refused(refused, 3, ["val_list.txt:2", "--value-range 255` finds all such images"])
    refused = cli("features", "-output", tmp_path / "g.npz", *args, "DATA.MAX_BAD", 0)
    assert_refused(refused, 3, ["val_list.txt:2", "MAX_BAD"])
    assert not (tmp_path / "g.npz").exists()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["features", "-output", "f.txt"], 2, [".npz, .safetensors, .csv or .parquet"]),
        (["features", "-output", "/proc/f.csv"], 2, ["/proc/f.csv cannot be written"]),
        (["-eval", "--random-init"], 2, ["--random-init", "leave -eval out"]),
        (["knn", "--train", "a.npz"], 2, ["--train and --val go together"]),
        (["knn", "--train", "/nowhere/a.npz", "--val", "b.npz"], 2, ["/nowhere/a.npz"]),
        (["knn", "--k", "0"], 2, ["--k 0"]),
        (["knn", "--pool", "grid3"], 2, ["grid3", "grid2"]),
        (["knn", "--pool", "mean", "--train", "a.npz", "--val", "b.npz"], 2, ["--pool is for images"]),
        (["attention", "x.jpg"], 2, ["attention needs weights"]),
    ],
)
def test_user_errors_are_one_line(cli, args, code, words):
    assert_refused(cli(*args), code, words)
