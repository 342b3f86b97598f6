"""Features kept in a run: read where nothing changed, made again where anything did, several pools of one pass."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from stage_runs import PROBE, assert_same, broken_set

from mae_core.weights.load import load_pretrained
from mae_data.sources.cache import FOLDER_VARIABLE
from mae_probe.build import build_model, eval_dataset
from mae_probe.cli import main
from mae_probe.config import RECIPE
from mae_probe.extraction import encoding, kept_features
from mae_probe.extraction.feature_file import read_features
from mae_probe.extraction.feature_set import Features
from mae_probe.extraction.pooling import Part

TINY = PROBE.tiny


@pytest.fixture
def run(pretrained, tmp_path):
    """A run of its own."""
    return shutil.copytree(pretrained, tmp_path / "run", ignore=shutil.ignore_patterns("features"))


@pytest.fixture
def images(data, tmp_path):
    """Images of its own."""
    return shutil.copytree(data, tmp_path / "images")


@pytest.fixture
def passes(monkeypatch):
    """The lists that were encoded, each with what was made of it."""
    seen, encode = [], encoding.encode

    def counted(config, forward, dataset, precision, rows=None):
        made = encode(config, forward, dataset, precision, rows)
        seen.append((os.path.basename(dataset.images.name), [part.pool for part in made]))
        return made

    monkeypatch.setattr(encoding, "encode", counted)
    return seen


def words(run, images, *more):
    return [str(word) for word in ("-pretrained", run, "-data_path", images, "-batch_size", 5, *TINY, *more)]


def kept(run):
    return sorted(path.name for path in (run / "features").glob("*"))


def random_features(seed, n=5):
    rng = np.random.default_rng(seed)
    return Features(rng.random((n, 4), np.float32), np.arange(n), [f"{i}.jpg" for i in range(n)])


def test_commands_encode_a_list_once(run, images, passes, capsys, tmp_path):
    assert main(["knn", *words(run, images, "--k", 5)]) == 0
    first = capsys.readouterr().out
    lists = ("train_list.txt", "val_list.txt")
    assert passes == [
        (name, pools) for pools in (["class", "pixels"], ["class"]) for name in lists
    ]  # by random weights
    assert f"features kept in {run / 'features'}: " in first
    assert main(["knn", *words(run, images, "--k", 5)]) == 0
    again = capsys.readouterr().out
    assert [line for line in again.splitlines() if line.startswith("kNN")] == [
        line for line in first.splitlines() if line.startswith("kNN")
    ]
    assert f"features read from {run / 'features'}: {images / 'val_list.txt'} (class, pixels)" in again
    assert f"features read from {run / 'features'}: {images / 'val_list.txt'} (class of random weights)" in again
    assert main(["features", *words(run, images, "-output", tmp_path / "f.npz")]) == 0
    cached = ["TRAIN.CACHE_FEATURES", "True", "-output", tmp_path / "probe"]
    assert main(words(run, images, *cached)) == 0
    assert len(passes) == 4
    assert len(kept(run)) == 6
    files = {read_features(path).features.shape: str(path) for path in (run / "features").glob("*")}
    val, train = files[7, 16], files[26, 16]
    assert main(["knn", "--train", train, "--val", val, "--k", "5"]) == 0  # feature files like any other


def test_a_probe_of_cached_features_measures_what_it_has_to_beat(run, images, capsys, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    cached = words(run, images, "TRAIN.CACHE_FEATURES", "True")
    assert main([*cached, "-output", str(tmp_path / "probe")]) == 0
    found = json.loads((tmp_path / "probe/yardsticks.json").read_text())
    said = capsys.readouterr().out
    assert "to beat: top-1 of logistic regression for these 26 labels: random init" in said
    assert main(["logistic", *words(run, images, "--json", "-")]) == 0
    beside = json.loads(capsys.readouterr().out)
    assert found["logistic"] == {name: beside[name] for name in ("random_init", "raw_pixels")}
    monkeypatch.setattr("mae_core.stage.yardsticks.MOST_IMAGES", 25)
    assert main([*cached, "-output", str(tmp_path / "without")]) == 0
    assert not (tmp_path / "without/yardsticks.json").exists()
    assert_same(tmp_path / "probe", tmp_path / "without")


def test_without_the_cache_nothing_is_kept_or_read(run, images, passes, capsys):
    for _ in range(2):
        assert main(["knn", *words(run, images, "--k", 5, "--no-cache", "--no-yardsticks")]) == 0
    assert passes == 2 * [("train_list.txt", ["class"]), ("val_list.txt", ["class"])]
    assert not (run / "features").exists()
    assert "features kept" not in capsys.readouterr().out


def test_a_cached_probe_learns_the_same_with_and_without(run, images, tmp_path):
    cached = ["TRAIN.CACHE_FEATURES", "True", "-output"]
    for name, flags in (("encoded", ["--no-cache"]), ("kept", []), ("read", [])):
        assert main([*words(run, images, *cached, tmp_path / name), *flags]) == 0
    weights = [load_pretrained(build_model(RECIPE.load(pairs=TINY)), tmp_path / name).file for name in ("kept", "read")]
    expected = load_pretrained(build_model(RECIPE.load(pairs=TINY)), tmp_path / "encoded").file.read_bytes()
    assert [file.read_bytes() for file in weights] == [expected] * 2
    assert main([*words(run, images, *cached, tmp_path / "read"), "-resume", "auto", "--no-cache"]) == 0


def test_random_weights_have_their_features_in_the_run_itself(run, images, passes, tmp_path):
    cached = ["--random-init", "TRAIN.CACHE_FEATURES", "True", "-output", tmp_path / "random"]
    assert main(words(run, images, *cached)) == 0
    lists = ("train_list.txt", "val_list.txt")
    assert passes == [(name, ["class", "pixels"]) for name in lists]  # what is trained on, and what it has to beat
    assert len(kept(tmp_path / "random")) == 4
    assert kept(run) == []


CHANGES = {
    "an image": lambda images: (images / "val/class 0/a 0.jpg").write_bytes(
        (images / "val/class 1/a 1.jpg").read_bytes()
    ),
    "its time": lambda images: os.utime(images / "val/class 0/a 0.jpg", (1, 1)),
    "the order": lambda images: (images / "val_list.txt").write_text(
        "".join(reversed((images / "val_list.txt").read_text().splitlines(keepends=True)))
    ),
    "a label": lambda images: (images / "val_list.txt").write_text(
        (images / "val_list.txt").read_text().replace("a 6.jpg 0", "a 6.jpg 2")
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_images_are_encoded_anew(change, run, images, passes, tmp_path):
    output = ["-output", tmp_path / "f.npz"]
    assert main(["features", *words(run, images, *output)]) == 0
    CHANGES[change](images)
    assert main(["features", *words(run, images, *output)]) == 0
    assert len(passes) == 2
    expected = tmp_path / "e.npz"
    assert main(["features", *words(run, images, "-output", expected, "--no-cache")]) == 0
    np.testing.assert_array_equal(read_features(tmp_path / "f.npz").features, read_features(expected).features)
    assert read_features(tmp_path / "f.npz").labels.tolist() == read_features(expected).labels.tolist()


@pytest.mark.parametrize(
    "pairs",
    [
        ["DATA.CROP_PCT", "0.9"],
        ["DATA.IMAGE_SIZE", "[16, 24]"],
        ["DATA.EXIF", "True"],
        ["DATA.DECODER", "fast"],
        ["MODEL.GLOBAL_POOL", "True"],
        ["--pool", "mean"],
        ["--random-init"],
        ["--random-init", "SEED", "1"],
    ],
)
def test_other_settings_are_encoded_anew(pairs, run, images, passes, tmp_path):
    output = ["-output", tmp_path / "f.npz"]
    assert main(["features", *words(run, images, *output)]) == 0
    assert main(["features", *words(run, images, *output, *pairs)]) == 0
    assert len(passes) == 2
    assert main(["features", *words(run, images, *output, *pairs)]) == 0
    assert len(passes) == 2


def test_what_features_are_made_of(run, images):
    """Of the key: weights, precision and versions, which commands cannot change on every machine."""
    config = RECIPE.load(flags={"DATA.DATA_PATH": str(images)}, pairs=TINY)
    model, dataset = build_model(config), eval_dataset(config, "val_list.txt")

    def key(precision=None):
        return kept_features.key_of(encoding._made_of(config, model, dataset, SimpleNamespace(dtype=precision)))

    before = key()
    assert key() == before != key("bfloat16")
    model.head[1].weight.set_value(model.head[1].weight + 1)
    assert key() == before
    model.blocks[1].mlp.fc1.bias.set_value(model.blocks[1].mlp.fc1.bias + 1)
    assert key() != before


def test_other_weights_in_the_same_place_are_encoded_anew(run, images, passes, tmp_path):
    file, (written,) = run / "checkpoints/w.safetensors", (run / "checkpoints").glob("step_*/model.safetensors")
    shutil.copy(written, file)
    args = ["features", *words(file, images, "-output", tmp_path / "f.npz")]
    assert main(args) == main(args) == 0
    assert len(passes) == 1
    save_file(load_file(file) | {"norm.bias": np.full(16, 0.5, np.float32)}, file, metadata_of(written))
    assert main(args) == 0
    assert len(passes) == len(kept(run)) == 2


def metadata_of(file):
    with safe_open(file, "numpy") as opened:
        return opened.metadata()


def damage(path):
    raw = path.read_bytes()
    return {"half": raw[: len(raw) // 2], "a flipped bit": raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:], "empty": b""}


@pytest.mark.parametrize("fault", ["half", "a flipped bit", "empty"])
def test_a_damaged_file_is_made_again(fault, run, images, passes, tmp_path):
    output = ["-output", tmp_path / "f.npz"]
    assert main(["features", *words(run, images, *output)]) == 0
    (path,) = (run / "features").glob("*")
    whole = path.read_bytes()
    path.write_bytes(damage(path)[fault])
    assert main(["features", *words(run, images, *output)]) == 0
    assert len(passes) == 2
    assert [found.read_bytes() for found in (run / "features").glob("*")] == [whole]


def test_a_write_that_is_cut_off_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        kept_features.keep_features(tmp_path, "key", random_features(0))
    assert not list(tmp_path.iterdir())


def test_what_was_not_used_for_longest_goes(tmp_path, monkeypatch):
    size = len(kept_features.FORMATS[".safetensors"].write(random_features(0)))
    monkeypatch.setattr(kept_features, "MOST", 2 * size + size // 2)
    for number in range(2):
        assert kept_features.keep_features(tmp_path, f"key{number}", random_features(number))
        os.utime(next(tmp_path.glob(f"key{number}-*")), (number, number))
    assert kept_features.find_features(tmp_path, "key0")  # used: it is the younger one now
    assert kept_features.keep_features(tmp_path, "key2", random_features(2))
    assert [bool(kept_features.find_features(tmp_path, f"key{number}")) for number in range(3)] == [True, False, True]
    assert not kept_features.keep_features(tmp_path, "key3", random_features(3, n=50))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_one_line(run, images, tmp_path, capsys):
    (run / "features").write_text("mine")
    assert main(["features", *words(run, images, "-output", tmp_path / "f.npz")]) == 0
    assert f"no features are kept in {run / 'features'}" in capsys.readouterr().out
    assert (run / "features").read_text() == "mine"


def test_a_list_with_bad_images_names_them_each_time(run, tmp_path, capsys):
    for _ in range(2):
        args = words(run, broken_set(tmp_path), "-output", tmp_path / "f.npz")
        assert main(["features", *args]) == 0
        assert "1 of 5 images could not be used" in capsys.readouterr().out
    assert kept(run) == []


def test_features_lie_in_the_run_of_their_weights(pretrained, tmp_path, monkeypatch):
    (checkpoint,) = (pretrained / "checkpoints").glob("step_*")
    (tmp_path / "link").symlink_to(checkpoint)
    for named in (pretrained, checkpoint, checkpoint / "model.safetensors", tmp_path / "link"):
        assert kept_features.folder_for(str(named)) == pretrained.resolve() / "features"
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    for named in (None, str(tmp_path / "vit.safetensors"), str(pretrained / "notes/vit.safetensors")):
        assert kept_features.folder_for(named) == tmp_path / "cache/features"


def test_several_pools_take_one_pass_and_give_what_each_gives(run, images, passes, capsys):
    pools = ["class", "mean", "grid2", "grid4"]
    more = ["--k", 5, "--json", "-", "--no-cache"]
    alone = []
    for pool in pools:
        assert main(["knn", *words(run, images, *more, "--pool", pool)]) == 0
        alone.append(json.loads(capsys.readouterr().out)["top1"])
    passes.clear()
    assert main(["knn", *words(run, images, *more), "--pool", *pools, "SEED", "3"]) == 0
    said = json.loads(capsys.readouterr().out)
    lists = ("train_list.txt", "val_list.txt")
    assert passes == [(name, taken) for taken in ([*pools, "pixels"], pools) for name in lists]
    assert said["top1"] == dict(zip(pools, alone, strict=True))
    assert said["pool"] == pools
    assert main(["knn", *words(run, images, "--k", 5, "--pool", "mean", "class", "--pool", "mean")]) == 0
    rows = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("kNN ")]
    assert rows == ["kNN --pool mean k=5", "kNN --pool class k=5"]


def test_pools_of_files_and_of_logistic_regression(run, images, passes, capsys, tmp_path):
    pytest.importorskip("sklearn")
    pools = ["--pool", "mean", "grid2"]
    assert main(["features", *words(run, images, "-output", tmp_path / "f.npz"), *pools]) == 0
    assert read_features(tmp_path / "f-grid2.npz").features.shape == (7, 64)
    mean, grid = (read_features(tmp_path / f"f-{pool}.npz").features for pool in pools[1:])
    np.testing.assert_allclose(grid.reshape(7, 4, 16).mean(axis=1), mean, atol=1e-5)
    assert main(["logistic", *words(run, images, "--no-yardsticks"), *pools]) == 0
    rows = [
        line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("logistic regression ")
    ]
    assert rows == ["logistic regression --pool mean C=1", "logistic regression --pool grid2 C=1"]
    assert passes == [("val_list.txt", ["mean", "grid2"]), ("train_list.txt", ["mean", "grid2"])]


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_the_own_pool_is_what_the_head_reads(pool):
    config = RECIPE.load(pairs=[*TINY, "MODEL.GLOBAL_POOL", str(pool == "mean")])
    model = build_model(config)
    model.eval()
    assert encoding.own_pool(config) == pool
    pixels = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    found = encoding.take_parts(model, [Part(pool)], pixels)[Part(pool)].numpy()
    np.testing.assert_array_equal(found, model.head_inputs(pixels).numpy())
