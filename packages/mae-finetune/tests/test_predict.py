"""`mae-finetune predict` and class names: from class folders to what is said of an image, and the same from Python."""

import csv
import json
import shutil

import numpy as np
import paddle
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from stage_runs import FINETUNE, weights, write_images

import mae_finetune.prediction.predictor
from mae_core.errors import ConfigError, UserError
from mae_core.files import sha256
from mae_core.ops import products
from mae_core.process import log
from mae_core.weights.checkpoint_folder import find_weights
from mae_core.weights.load import load_model
from mae_data import make_eval_transform, open_image
from mae_data.errors import DataError
from mae_finetune.build import build_model
from mae_finetune.class_names import names_of, training_names
from mae_finetune.cli import main
from mae_finetune.config import RECIPE

TINY = FINETUNE.tiny
SHORT = ["TRAIN.NUM_EPOCHS", "2", "TRAIN.WARMUP_EPOCHS", "0", "-batch_size", "8", "DATA.CROP_PCT", "0.8"]
FOLDERS = ["class 0", "class 1", "class 2"]


@pytest.fixture(autouse=True)
def stdout_for_the_log(monkeypatch):
    monkeypatch.setattr(log, "_stream", "stdout")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Class folders, without lists."""
    root = tmp_path_factory.mktemp("photos")
    write_images(root, "train", 26)
    write_images(root, "val", 9)
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """A run of two epochs with averaged weights."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["-data_path", str(photos), "-output", str(folder), *TINY, *SHORT, "TRAIN.EMA", "0.5"]) == 0
    return folder


@pytest.fixture
def nameless(run, tmp_path):
    """A checkpoint of the run as older versions wrote it: without names."""
    folder = tmp_path / "old"
    shutil.copytree(find_weights(run).parent, folder)
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "numpy") as opened:
            header = opened.metadata() or {}
        if "architecture" in header:
            facts = json.loads(header["architecture"])
            facts = {key: value for key, value in facts.items() if key not in ("class_names", "pixel_mean")}
            save_file(load_file(file), file, metadata={**header, "architecture": json.dumps(facts)})
    state = json.loads((folder / "state.json").read_text())
    state |= {"schema": 1, "sha256": {name: sha256(folder / name) for name in state["sha256"]}}
    state["config"]["DATA"].pop("CLASS_NAMES")
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def expected(run, files):
    """Probabilities by the model put together here."""
    model = build_model(RECIPE.load(pairs=TINY))
    load_model(run, model)
    model.eval()
    transform = make_eval_transform(image_size=16, crop_pct=0.8)
    logits = model(paddle.to_tensor(np.stack([transform(open_image(file)) for file in files]))).numpy()
    exps = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def test_weights_carry_the_names_of_the_class_folders(run):
    name, _ = weights(run)
    for file in ("model", "ema"):
        with safe_open(run / "checkpoints" / name / f"{file}.safetensors", "numpy") as opened:
            assert json.loads(opened.metadata()["architecture"])["class_names"] == FOLDERS


def test_predictions_from_python_are_the_models(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = sorted((photos / "val").rglob("*.jpg"))
    said = mae_finetune.predict(run, files, topk=2, batch_size=4)
    assert [p.image for p in said] == [str(file) for file in files]
    for p, row in zip(said, expected(run, files), strict=True):
        best = np.argsort(-row)[:2]
        assert [g.label for g in p.guesses] == best.tolist()
        assert [g.name for g in p.guesses] == [FOLDERS[c] for c in best]
        assert [g.probability for g in p.guesses] == pytest.approx(row[best].tolist(), abs=1e-5)
    picture = Image.open(files[0])
    in_memory = mae_finetune.predict(str(run), [picture, np.asarray(picture)], topk=2, batch_size=1)
    assert [p.image for p in in_memory] == ["image 0", "image 1"]
    assert in_memory[0].guesses == in_memory[1].guesses
    assert in_memory[0].guesses[0].probability == pytest.approx(said[0].guesses[0].probability, abs=1e-6)
    (alone,) = mae_finetune.predict(run, files[0], topk=99)
    assert len(alone.guesses) == 3
    assert sum(g.probability for g in alone.guesses) == pytest.approx(1)


def test_the_command_says_the_same_as_text_json_and_csv(run, photos, tmp_path, capsys):
    files = sorted((photos / "val").rglob("*.jpg"))
    said = mae_finetune.predict(run, files, topk=2, batch_size=4)
    capsys.readouterr()
    words = ["predict", "-pretrained", str(run), "--topk", "2", "-batch_size", "4", str(photos / "val")]
    assert main([*words, "--json", str(tmp_path / "p.json"), "--csv", str(tmp_path / "p.csv")]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [p.line() for p in said]
    assert "tensors from" in captured.err
    stored = json.loads((tmp_path / "p.json").read_text())
    assert stored["weights"] == str(run)
    assert [p["image"] for p in stored["predictions"]] == [str(file) for file in files]
    assert stored["predictions"][4]["guesses"][0]["name"] == said[4].guesses[0].name
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert len(rows) == 18
    second = said[0].guesses[1]
    assert (rows[1]["rank"], rows[1]["name"], rows[1]["label"]) == ("2", second.name, str(second.label))
    assert float(rows[1]["probability"]) == pytest.approx(second.probability, rel=1e-5)
    assert main([*words, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"] == stored["predictions"]


@pytest.mark.skipif(bool(products.why_no_bfloat16()), reason=f"no products of bfloat16: {products.why_no_bfloat16()}")
def test_amp_predicts_nearly_the_same_and_rounds_each_weight_once(run, photos, tmp_path, capsys, monkeypatch):
    words = ["predict", "-pretrained", str(run), "-batch_size", "4", str(photos / "val"), "--json"]
    weights, said = [], []
    rounded = products.rounded
    monkeypatch.setattr(products, "rounded", lambda x: (x.persistable and weights.append(x.name), rounded(x))[1])
    for name, flags in (("plain", []), ("amp", ["-amp"])):
        assert main([*words, str(tmp_path / name), *flags]) == 0
        guesses = [p["guesses"] for p in json.loads((tmp_path / name).read_text())["predictions"]]
        said.append([{g["label"]: g["probability"] for g in each} for each in guesses])
        assert bool(weights) == bool(flags)
    assert len(weights) == len(set(weights))  # in two batches
    assert "precision: bfloat16 in matrix products" in capsys.readouterr().err
    plain, amp = said
    assert amp != plain
    for first, second in zip(plain, amp, strict=True):
        assert first == pytest.approx(second, abs=1e-2)


def test_older_weights_give_numbers_until_names_are_given(nameless, run, photos, tmp_path, capsys):
    file = str(photos / "val/class 1/a 1.jpg")
    words = ["predict", "-pretrained", str(nameless), "--topk", "3", file]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "they are numbers; --class-names FILE" in captured.err
    assert set(captured.out.split(": ")[1].split()[::2]) == {"0", "1", "2"}
    names = tmp_path / "names.txt"
    names.write_text("red\ngreen thing\nblau ü\n", encoding="utf-8")
    assert main([*words, "--class-names", str(names)]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} 0." in out for name in ("red", "green thing"))
    (named,) = mae_finetune.predict(nameless, file, class_names=names)
    assert {g.name for g in named.guesses} == {"red", "green thing", "blau ü"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["x.jpg"], 2, "predict needs weights"),
        (["-pretrained", "{run}"], 2, "IMAGE|FOLDER"),
        (["-pretrained", "{run}", "{tmp}/nope.jpg"], 3, "nope.jpg: cannot read the file"),
        (["-pretrained", "{run}", "{tmp}/empty"], 3, "empty has no images"),
        (["-pretrained", "{run}", "{tmp}/text.jpg"], 3, "text.jpg: not an image"),
        (["-pretrained", "{run}", "--topk", "0", "x.jpg"], 2, "--topk"),
        (["-pretrained", "{tmp}/nope.pth", "x.jpg"], 4, "nope.pth: no such file"),
        (["-pretrained", "{run}", "--class-names", "{tmp}/two.txt", "x.jpg"], 2, "2 names, MODEL.NUM_CLASSES=3"),
        (["-pretrained", "{run}", "--json", "-", "--csv", "-", "x.jpg"], 2, "--json - and --csv -"),
        (["-pretrained", "{run}", "--csv", "{tmp}/text.jpg/p.csv", "x.jpg"], 2, "--csv"),
    ],
)
def test_user_errors_are_one_line(words, code, said, run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "two.txt").write_text("a\nb\n")
    assert main(["predict", *(word.format(run=run, tmp=tmp_path) for word in words)]) == code
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert said in lines[-1]


def test_python_refuses_by_exceptions(run, tmp_path):
    with pytest.raises(UserError, match="topk=0"):
        mae_finetune.predict(run, np.zeros((16, 16, 3), np.uint8), topk=0)
    with pytest.raises(DataError, match=r"nope\.jpg"):
        mae_finetune.predict(run, tmp_path / "nope.jpg")


def listed(tmp_path, lines):
    from mae_data.sources.image_list import read_list

    (tmp_path / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    return read_list(tmp_path / "list.txt")


def test_where_a_runs_names_come_from(tmp_path):
    def names(images, *pairs):
        return training_names(RECIPE.load(flags={"DATA.DATA_PATH": str(tmp_path)}, pairs=[*TINY, *pairs]), images)

    folders = listed(tmp_path, ["t/a/1.jpg 0", "t/b/1.jpg 1", "t/c/1.jpg 2", "t/a/2.jpg 0"])
    assert names(folders) == ["a", "b", "c"]
    assert names(listed(tmp_path, ["t/1.jpg 0", "t/2.jpg 1", "t/3.jpg 2"])) is None, "one folder for all"
    assert names(listed(tmp_path, ["t/a/1.jpg 0", "t/c/1.jpg 2"])) is None, "a class without images"
    assert names(listed(tmp_path, ["a/1.jpg 0", "b/1.jpg 1", "c/1.jpg 2", "b/2.jpg 0"])) is None, (
        "folders of two classes"
    )
    assert names(listed(tmp_path, ["1.jpg 0", "2.jpg 1", "3.jpg 2"])) is None
    (tmp_path / "classes.txt").write_text("x\ny\n")
    assert names(folders) == ["a", "b", "c"], "two names do not fit three outputs"
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert names(folders) == ["x", "y", "z"]
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    assert names(folders, "DATA.CLASS_NAMES", "names.txt") == ["one", "two", "three"]
    with pytest.raises(ConfigError, match=r"nope\.txt cannot be read"):
        names(folders, "DATA.CLASS_NAMES", "nope.txt")


def test_where_the_names_of_trained_weights_come_from(tmp_path):
    model = build_model(RECIPE.load(pairs=TINY))

    def names(*pairs):
        return names_of(RECIPE.load(flags={"DATA.DATA_PATH": str(tmp_path)}, pairs=[*TINY, *pairs]), model)

    assert names() is None
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    assert names() == ["a", "b", "c"]
    model.name_classes(["k", "l", "m"])
    assert names() == ["k", "l", "m"], "what lies about counts for less than the weights"
    assert names("DATA.CLASS_NAMES", "gone.txt") == ["k", "l", "m"]
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    assert names("DATA.CLASS_NAMES", "names.txt") == ["one", "two", "three"]
    (tmp_path / "map.txt").write_text("n02 2\nn00 0\n")
    assert names("ROBUST.CLASS_MAP", str(tmp_path / "map.txt")) == ["n00", None, "n02"]
    with pytest.raises(ValueError, match="2 class names for 3 outputs"):
        model.name_classes(["a", "b"])


def test_workers_decode_ahead_and_change_nothing(run, photos, tmp_path, monkeypatch):
    files = sorted((photos / "train").rglob("*.jpg"))
    here = mae_finetune.predict(run, files, topk=3, batch_size=5)
    asked = []
    real = mae_finetune.prediction.batches.make_loader
    monkeypatch.setattr(
        "mae_finetune.prediction.batches.make_loader",
        lambda *args, **kwargs: asked.append(kwargs) or real(*args, **kwargs),
    )
    assert mae_finetune.predict(run, files, topk=3, batch_size=5, num_workers=2) == here
    assert asked == [{"num_workers": 2}]
    (tmp_path / "bad.jpg").write_bytes(files[0].read_bytes()[:200])
    with pytest.raises(DataError, match=r"bad\.jpg"):
        mae_finetune.predict(run, [*files, tmp_path / "bad.jpg"], batch_size=5, num_workers=2)
    mae_finetune.predict(run, [np.zeros((20, 20, 3), np.uint8)] * 3, num_workers=2)
    assert len(asked) == 2  # arrays are at hand


def test_the_command_takes_workers_for_more_than_a_batch(run, photos, tmp_path, monkeypatch, capsys):
    asked = []
    real = mae_finetune.Classifier.predict
    monkeypatch.setattr(mae_finetune.Classifier, "predict", lambda self, *a: asked.append(a[3]) or real(self, *a))
    words = ["predict", "-pretrained", str(run), "--set", "DATA.NUM_WORKERS", "2", str(photos / "val")]
    assert main([*words, "-batch_size", "4", "--csv", "-"]) == 0
    with_workers = capsys.readouterr().out
    assert main([*words, "--csv", "-"]) == 0
    assert capsys.readouterr().out.count("\n") == with_workers.count("\n") == 1 + 9 * 3
    assert asked == [2, 0]
