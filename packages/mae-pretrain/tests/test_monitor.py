"""The monitor: its figures from outside, and that it neither changes a run nor loses its place in it."""

import shutil
import signal

import numpy as np
import paddle
import pytest
from PIL import Image
from stage_runs import PRETRAIN, assert_same, records

import mae_pretrain.monitor.look
from mae_core.training.precision import Precision
from mae_data.errors import DataError
from mae_pretrain.build import build_model, eval_dataset, mask_noise
from mae_pretrain.config import RECIPE
from mae_pretrain.monitor.images import MonitoredImages
from mae_pretrain.monitor.look import Encoded, Monitor
from mae_pretrain.train import board_pictures

TINY = PRETRAIN.tiny
EVERY = ["MONITOR.EVERY", 1, "MONITOR.PICTURES", 2]


def config_of(folder, *pairs):
    return RECIPE.load(None, {"DATA.DATA_PATH": str(folder)}, [str(w) for w in (*TINY, "DATA.BATCH_SIZE", 4, *pairs)])


BESIDE = ("knn_random_init", "knn_whitened_random_init", "knn_raw_pixels")
SINGLE = Precision(False, "bfloat16", print)


def never():
    return False


@pytest.fixture(scope="module")
def watched(data, tmp_path_factory):
    """A run with a look after each of its epochs of 3 steps."""
    run = tmp_path_factory.mktemp("watched") / "run"
    result = PRETRAIN.start("-batch_size", 8, "-data_path", data, "-output", run, *TINY, *EVERY, "REPORT_FREQ", 1)
    assert result.returncode == 0, result.stderr
    return run, result.stdout


def looks(run):
    return [record for record in records(run) if record["kind"] == "validation"]


def test_every_epoch_has_its_figures_and_pictures(watched):
    run, out = watched
    assert "monitor: every 1 epochs, 7 held-out images; kNN among 26 training images" in out
    assert [record["step"] for record in looks(run)] == [3, 6, 9]
    for record in looks(run):
        assert set(record) == {"kind", "step", "epoch", "val_loss", "rankme", "knn_top1", "knn_whitened_top1", *BESIDE}
        assert 1 <= record["rankme"] <= 7
    assert looks(run)[0]["val_loss"] > looks(run)[-1]["val_loss"]
    pictures = sorted(path.name for path in (run / "monitor").iterdir())
    assert pictures == [*(f"step_{step:08d}.png" for step in (3, 6, 9)), "strips"]
    with Image.open(run / "monitor" / pictures[0]) as picture:
        assert picture.height > 2 * 128
    assert not (run / "best").exists()  # no figure of pre-training says which weights are best


def test_it_changes_no_weight(watched, data, cli, tmp_path):
    result = cli("-batch_size", 8, "-data_path", data, "-output", tmp_path / "run", *TINY, "REPORT_FREQ", 1)
    assert result.returncode == 0, result.stderr
    assert_same(watched[0], tmp_path / "run")
    assert records(tmp_path / "run") == [r for r in records(watched[0]) if r["kind"] == "train"]


def test_stopped_and_resumed_gives_the_same_weights_and_records(watched, data, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-output", tmp_path / "run", *TINY, *EVERY, "REPORT_FREQ", 1]
    process = PRETRAIN.begin(*args)
    for line in process.stdout:
        if " step 3/9" in line:  # before or within the first look
            process.send_signal(signal.SIGTERM)
            break
    process.communicate(timeout=60)
    resumed = cli(*args, "-resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    assert_same(watched[0], tmp_path / "run")
    assert records(tmp_path / "run") == records(watched[0])


def test_watching_may_begin_on_resume(watched, data, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-output", tmp_path / "run", *TINY, "REPORT_FREQ", 1]
    longer = ["TRAIN.NUM_EPOCHS", 4, "--allow-drift", "TRAIN.NUM_EPOCHS"]
    result = cli(*args, *longer, "-resume", watched[0], "MONITOR.EVERY", 2)
    assert result.returncode == 0, result.stderr
    assert [record["step"] for record in looks(tmp_path / "run")] == [12]


def test_two_ranks_see_the_figures_of_one(watched, data, tmp_path):
    PRETRAIN.launch("-batch_size", 4, "-data_path", data, "-output", tmp_path / "run", *TINY, *EVERY)
    for one, two in zip(looks(watched[0]), looks(tmp_path / "run"), strict=True):
        assert two.pop("kind") == one.pop("kind")
        assert two == pytest.approx(one, rel=1e-4)


def test_a_rank_that_writes_nothing_computes_the_shared_figures_only(data, monkeypatch):
    config = config_of(data, "MONITOR.EVERY", 1)
    monitor = Monitor(config, SINGLE, None)
    model = build_model(config)
    model.eval()
    monkeypatch.setattr(mae_pretrain.monitor.look.distributed, "is_main", lambda: False)
    assert set(monitor.look(model, 1, never)) == {"val_loss"}


def test_figures_are_those_of_plain_loops(data, tmp_path):
    """Image by image and in float64: the loss of each under its own mask, mean tokens, cosines, singular values."""
    config = config_of(data, "MONITOR.EVERY", 1)
    model = build_model(config)
    model.eval()
    found = Monitor(config, SINGLE, None).look(model, 1, never)
    losses, tokens, labels = [], {}, {}
    for part in ("val", "train"):
        dataset = eval_dataset(config, f"{part}_list.txt")
        tokens[part], labels[part] = [], []
        for index in range(len(dataset)):
            pixels, label, _ = dataset[index]
            image = paddle.to_tensor(pixels[None])
            if part == "val":
                noise = mask_noise(config, paddle.to_tensor([index]), epoch=0)
                losses.append(float(model(image, config.MODEL.MASK_RATIO, noise=noise)[0]))
            whole = model.forward_features(image)[0].numpy().astype(np.float64)
            tokens[part].append(whole[1:].mean(axis=0))
            labels[part].append(int(label))
    assert found["val_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    values = np.linalg.svd(np.stack(tokens["val"]), compute_uv=False)
    shares = values / values.sum() + 1e-7
    assert found["rankme"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)
    assert found["knn_top1"] == pytest.approx(plain_knn(tokens, labels))
    white = dict(zip(("train", "val"), whitened(np.stack(tokens["train"]), np.stack(tokens["val"])), strict=True))
    assert found["knn_whitened_top1"] == pytest.approx(plain_knn(white, labels))


def test_beside_stand_random_weights_and_raw_pixels(data):
    """The figures of a model are those of its start where it has just begun; those of pixels come from plain loops."""
    config = config_of(data, "MONITOR.EVERY", 1)
    begun, other = build_model(config), build_model(config_of(data, "SEED", 5))
    monitor = Monitor(config, SINGLE, None)
    for model in (begun, other):
        model.eval()
    paddle.seed(3)
    expected = paddle.rand([4]).numpy()
    paddle.seed(3)
    found = monitor.look(other, 1, never)
    np.testing.assert_array_equal(paddle.rand([4]).numpy(), expected)  # the generator is as it was
    first = Monitor(config, SINGLE, None).look(begun, 1, never)
    assert first["knn_top1"] == first["knn_random_init"] == found["knn_random_init"]
    assert first["knn_whitened_top1"] == first["knn_whitened_random_init"] == found["knn_whitened_random_init"]
    pixels, labels = {}, {}
    for part in ("val", "train"):
        dataset = eval_dataset(config, f"{part}_list.txt")
        samples = [dataset[index] for index in range(len(dataset))]
        pixels[part] = [image.transpose(2, 0, 1).ravel().astype(np.float64) for image, _, _ in samples]
        labels[part] = [int(label) for _, label, _ in samples]
    assert pixels["val"][0].size <= 3 * 32 * 32  # not scaled down
    assert found["knn_raw_pixels"] == pytest.approx(plain_knn(pixels, labels))
    encoded = []
    monitor._encode = lambda model, *rest, **named: (
        encoded.append(model) or Monitor._encode(monitor, model, *rest, **named)
    )
    again = monitor.look(other, 2, never)
    assert {name: again[name] for name in BESIDE} == {name: found[name] for name in BESIDE}
    assert len(encoded) == 2  # no further pass over the images for what is known


def whitened(train, val):
    """By another way than the product's: singular values instead of a covariance."""
    mean = train.mean(axis=0)
    _, values, directions = np.linalg.svd(train - mean, full_matrices=False)
    variances = values**2 / (len(train) - 1)
    scale = np.sqrt(variances + 1e-4 * variances.sum() / train.shape[1])
    return (train - mean) @ directions.T / scale, (val - mean) @ directions.T / scale


def plain_knn(tokens, labels):
    hits = 0
    for x, label in zip(tokens["val"], labels["val"], strict=True):
        cosines = [x @ y / np.sqrt((x @ x) * (y @ y)) for y in tokens["train"]]
        votes = [0.0] * 3
        for near in np.argsort(cosines)[::-1][:20]:
            votes[labels["train"][near]] += np.exp(cosines[near] / 0.07)
        hits += int(np.argmax(votes) == label)
    return 100 * hits / len(labels["val"])


def test_collapsed_features_have_no_whitened_figure(data):
    monitor = Monitor(config_of(data, "MONITOR.EVERY", 1), SINGLE, None)
    same = [
        Encoded(
            np.ones((len(part.chosen), 16), np.float32), part.labels, 0.0, np.empty((len(part.chosen), 0), np.float32)
        )
        for part in (monitor.train, monitor.val)
    ]
    assert set(monitor._knn_figures(*same)) == {"knn_top1"}


def test_bad_images_are_passed_over_and_change_no_figure(data, tmp_path, caplog):
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data/bad.jpg").write_bytes(b"no image")
    good = Monitor(config_of(data, *EVERY), SINGLE, None)
    for part in ("train", "val"):
        with (tmp_path / "data" / f"{part}_list.txt").open("a") as file:
            file.write("bad.jpg 1\n")
    config = config_of(tmp_path / "data", *EVERY)
    bad, model = Monitor(config, SINGLE, tmp_path / "pictures"), build_model(config)
    model.eval()
    assert bad.look(model, 1, never) == pytest.approx(good.look(model, 1, never), rel=1e-6)
    assert bad.look(model, 1, never)  # it is known by now
    assert caplog.text.count("bad.jpg") == 2  # one for each list
    assert "1 of 8 images could not be used" in bad.skipped()[0]
    assert (tmp_path / "pictures/step_00000001.png").exists()
    assert (board_pictures(config)(model)["reconstructions"] != 255).any()
    raising = config_of(tmp_path / "data", *EVERY, "DATA.ON_ERROR", "raise")
    with pytest.raises(DataError, match=r"val_list\.txt:8 \(bad\.jpg\).*ON_ERROR skip passes over them"):
        Monitor(raising, SINGLE, None).look(model, 1, never)


def test_labels_come_from_lists_or_class_folders_but_not_from_images_of_training(data, tmp_path):
    for part in ("train", "val"):
        shutil.copytree(data / part, tmp_path / "classes" / part)
    shutil.copytree(data / "train", tmp_path / "alone")
    lists = MonitoredImages(config_of(data), "val_list.txt", 100)
    folders = MonitoredImages(config_of(tmp_path / "classes"), "val_list.txt", 100)
    assert sorted(lists.labels) == sorted(folders.labels) == [0, 0, 0, 1, 1, 2, 2]
    assert MonitoredImages(config_of(tmp_path / "alone"), "val_list.txt", 100).labels is None
    monitor = Monitor(config_of(data, "MONITOR.TRAIN_IMAGES", 5, "MONITOR.VAL_IMAGES", 3), SINGLE, None)
    assert len(monitor.val.chosen) == 3
    part = monitor.train
    assert part.chosen.tolist() == [0, 6, 12, 18, 25]
    assert part.labels.tolist() == [0, 0, 0, 0, 1]


def test_without_labels_there_is_no_knn_and_a_stop_ends_the_look(data, tmp_path):
    shutil.copytree(data / "val", tmp_path / "photos")
    config = config_of(tmp_path / "photos", "MONITOR.EVERY", 1)
    model = build_model(config)
    model.eval()
    monitor = Monitor(config, SINGLE, None)
    assert set(monitor.look(model, 1, never)) == {"val_loss", "rankme"}
    assert monitor.look(model, 1, lambda: True) is None
