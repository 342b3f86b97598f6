"""Whole runs on real JPEG files, from the outside."""

import re
import shutil
import signal
import time

import numpy as np
import pytest
from safetensors.numpy import load_file
from stage_runs import (
    FINETUNE,
    assert_never_skipped,
    assert_odd_set_counted_once,
    assert_refused,
    assert_same,
    broken_set,
    records,
    scores,
    weights,
)

TINY = FINETUNE.tiny
# Without what is drawn for a batch as it is cut: any number of ranks then takes the same steps.
PLAIN = ["TRAIN.MIXUP_PROB", "0", "MODEL.DROPPATH", "0"]


@pytest.fixture(scope="module")
def finished(data, pretrained, tmp_path_factory):
    """A run as the predecessor's README prints it, shrunk by KEY VALUE pairs, with averaged weights."""
    run = tmp_path_factory.mktemp("finished") / "run"
    result = FINETUNE.start(
        "-cfg=./configs/vit_base_patch16_224_finetune.yaml", "-dataset=imagenet2012", "-batch_size=8",
        f"-data_path={data}", f"-pretrained={pretrained}", "-amp", f"-output={run}", *TINY, "TRAIN.EMA", 0.9,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return run, result.stdout


@pytest.fixture(scope="module")
def plain(data, pretrained, tmp_path_factory):
    """A run of one process without what is drawn for a batch."""
    run = tmp_path_factory.mktemp("plain") / "run"
    args = ["-batch_size", 8, "-data_path", data, "-pretrained", pretrained, "-output", run, *TINY, *PLAIN]
    result = FINETUNE.start(*args)
    assert result.returncode == 0, result.stderr
    return run


def test_the_predecessors_command_trains_validates_and_reports_on_keys(finished):
    run, out = finished
    assert re.search(r"precision: (bfloat16 in matrix products|float32 \(-amp asked for bfloat16: .+\))\n", out)
    assert re.search(r"batch 8 x 1 ranks x 1 = 8", out)
    assert "weights: 28 tensors from" in out
    assert re.search(r"initial values kept: fc_norm\.\S+, fc_norm\.\S+, head\.\S+, head\.\S+$", out, re.MULTILINE)
    assert "the decoder is left out, as meant: this model has none" in out
    assert "pos_embed resized from 4x6 to 4x4 patches" in out
    assert "done: 9 steps" in out
    validations = [r for r in records(run) if "top1" in r]
    assert [r["step"] for r in validations] == [3, 6, 9]
    best = max(validations, key=lambda r: r["top1"])  # the first of equals
    assert (run / "best").resolve().name == f"step_{best['step']:08d}"
    names = {p.name for p in (run / "checkpoints").iterdir()}
    assert names == {"step_00000006", "step_00000009", (run / "best").resolve().name}
    train = [r for r in records(run) if "loss" in r]
    assert train[1]["lr"] == pytest.approx(0.05 * 8 / 256 * (1 / 3))  # the step before had epoch 1/3 of warm-up
    assert "NUM_CLASSES: 3" in (run / "config.yaml").read_text()


def test_terminated_and_resumed_equals_uninterrupted_bit_for_bit(data, pretrained, finished, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-pretrained", pretrained, "-amp", "-output", tmp_path / "run",
            *TINY, "TRAIN.EMA", 0.9, "DATA.NUM_WORKERS", 1]  # fmt: skip
    for waited_for in (" step 2/", "validation after step 6"):
        process = FINETUNE.begin(*args, "-resume", "auto")
        for line in process.stdout:
            if waited_for in line:
                process.send_signal(signal.SIGTERM)
                break
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 143, stderr
    resumed = cli(*args, "-resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stdout
    assert_same(finished[0], tmp_path / "run")
    assert_same(finished[0], tmp_path / "run", file="ema")
    assert records(finished[0]) == records(tmp_path / "run")


def test_resume_refuses_another_recipe_and_another_cut_of_the_batch(data, finished, cli, tmp_path):
    args = ["-data_path", data, "-output", tmp_path / "o", "-resume", finished[0], "-amp", *TINY, "TRAIN.EMA", 0.9]
    result = cli(*args, "-batch_size", 8, "TRAIN.SMOOTHING", 0.2)
    assert result.returncode == 4
    assert "TRAIN.SMOOTHING was 0.1, is 0.2" in result.stderr
    result = cli(*args, "-batch_size", 4, "-accum_iter", 2)  # other images would be mixed with each other
    assert result.returncode == 4
    assert "DATA.BATCH_SIZE was 8, is 4" in result.stderr


def test_evaluation_scores_the_trained_head_whatever_the_batch(data, finished, cli, tmp_path):
    run, _ = finished
    last = [r for r in records(run) if "top1" in r][-1]
    checkpoint = run / "checkpoints" / "step_00000009"
    for size in (7, 2):
        args = ["-eval", "-pretrained", checkpoint, "-data_path", data, "-output", tmp_path, "-batch_size", size, *TINY]
        result = cli(*args, "-amp")
        assert result.returncode == 0, result.stderr
        assert "7 images: top-1" in result.stdout
        figures = scores(tmp_path)
        assert figures["images"] == 7
        assert figures["top1"] == last["top1"]
        assert figures["val_loss"] == pytest.approx(last["val_loss"], rel=1e-6)
    raw = cli("-eval", "-pretrained", checkpoint / "model", *args[3:])  # the weights themselves, not their average
    assert raw.returncode == 0, raw.stderr
    assert scores(tmp_path)["val_loss"] != pytest.approx(last["val_loss"], rel=1e-6)


def test_evaluation_never_skips_an_image(finished, cli, tmp_path):
    args = ["-data_path", broken_set(tmp_path), "-output", tmp_path / "o", *TINY, "DATA.ON_ERROR", "skip"]
    assert_never_skipped(cli("-eval", "-pretrained", finished[0], *args))


def test_rare_classes_count_in_loss_and_choice_and_a_bad_image_ends_no_validation(data, pretrained, cli, tmp_path):
    root, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data, root)
    image = root / "val/class 1/a 1.jpg"
    image.write_bytes(image.read_bytes()[:200])
    args = ["-batch_size", 8, "-data_path", root, "-pretrained", pretrained, "-output", run, *TINY, *PLAIN]
    args += ["TRAIN.CLASS_WEIGHTS", "balanced"]
    result = cli(*args, "TRAIN.BEST_BY", "val_loss")
    assert result.returncode == 0, result.stderr
    assert "class weights in the loss: 0.963 to 1.083" in result.stdout  # 26 / (3 * 9), 26 / (3 * 8)
    named = re.findall(r" skipped: .*val_list\.txt:2 \(val/class 1/a 1\.jpg\)", result.stdout)
    assert len(named) == 1 + (run / "yardsticks.json").exists()  # once by each that opens the list, not at each look
    assert re.search(
        r" 1 of 7 images could not be used .*:\n.*val_list\.txt:2 \(val/class 1/a 1\.jpg\)\n", result.stdout
    )
    validations = [r for r in records(run) if "top1" in r]
    assert {"balanced_accuracy", "macro_f1", "auroc", "val_loss"} < validations[0].keys()
    best = min(validations, key=lambda r: r["val_loss"])
    assert (run / "best").resolve().name == f"step_{best['step']:08d}"
    assert f"step {best['step']}), chosen by val_loss" in (run / "MODEL_CARD.md").read_text()
    again = [*args, "-resume", run, "TRAIN.NUM_EPOCHS", 4, "TRAIN.BEST_BY", "balanced_accuracy"]
    assert_refused(cli(*again), 4, ["TRAIN.BEST_BY was 'val_loss', is 'balanced_accuracy'"])
    result = cli(*again, "--allow-drift", "TRAIN.BEST_BY")
    assert result.returncode == 0, result.stderr
    assert (run / "best").resolve().name == "step_00000012"  # the first that this figure has seen


def test_a_figure_that_will_not_be_known_chooses_no_checkpoint(data, cli, tmp_path):
    (tmp_path / "one.txt").write_text("".join((data / "val_list.txt").read_text().splitlines(keepends=True)[::3]))
    args = ["-data_path", data, "-output", tmp_path / "o", *TINY, "-batch_size", 8, "TRAIN.BEST_BY", "auroc"]
    words = ["TRAIN.BEST_BY=auroc needs validation images of two classes and at most 100 outputs"]
    assert_refused(cli(*args, "MODEL.NUM_CLASSES", 101), 2, words)
    one = [*args, "DATA.VAL_LIST", tmp_path / "one.txt", "DATA.ALLOW_OUTSIDE", "True"]
    assert_refused(cli(*one), 2, words)
    assert_refused(cli(*args[:-1], "accuracy"), 2, ["TRAIN.BEST_BY='accuracy' is not one of", "'macro_f1'"])


def test_a_terminated_evaluation_ends_at_once_and_leaves_no_half_figures(data, finished, tmp_path):
    root, out = tmp_path / "data", tmp_path / "o"
    shutil.copytree(data, root)
    listed = (root / "val_list.txt").read_text() * 3000
    (root / "val_list.txt").write_text(listed)
    process = FINETUNE.begin("-eval", "-pretrained", finished[0], "-data_path", root, "-output", out)
    while not (out / "eval").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[1].splitlines()[-1] == "ended by SIGTERM"
    assert process.returncode == 143
    assert [path.name for path in out.rglob("*")] == ["eval"]


def test_what_would_lose_the_figures_is_refused_before_scoring(data, finished, cli, tmp_path):
    """An output folder that cannot be written, and a severity without an image."""
    (tmp_path / "file").write_text("")
    args = ["-eval", "-pretrained", finished[0], *TINY, "-output"]
    broken = broken_set(tmp_path / "broken")  # scoring would end with exit code 3
    assert_refused(cli(*args, tmp_path / "file", "-data_path", broken), 2, ["file/eval", "-output"])
    image = tmp_path / "c/fog/1/class 0/a.jpg"
    image.parent.mkdir(parents=True)
    image.write_text("never read")
    (tmp_path / "c/val_list.txt").write_text("fog/1/class 0/a.jpg 0\n")
    (tmp_path / "errors.yaml").write_text("fog: 1\n")
    robust = ["ROBUST.CORRUPTIONS", "True", "ROBUST.ALEXNET_ERRORS", tmp_path / "errors.yaml"]
    result = cli(*args, tmp_path / "o", "-data_path", tmp_path / "c", *robust)
    assert_refused(result, 3, ["there is no image of fog/2, fog/3, fog/4, fog/5"])


def test_two_ranks_give_the_weights_and_the_scores_of_one_process(data, pretrained, plain, tmp_path):
    args = ["-batch_size", 4, "-data_path", data, "-pretrained", pretrained, "-output", tmp_path / "run", *TINY, *PLAIN]
    logs = FINETUNE.launch(*args)
    assert "batch 4 x 2 ranks x 1 = 8" in logs
    assert_same(plain, tmp_path / "run", atol=2e-6)
    one, two = ([r for r in records(run) if "top1" in r] for run in (plain, tmp_path / "run"))
    for a, b in zip(one, two, strict=True):  # 7 images: one rank has 4, the other 3
        assert a["top1"] == b["top1"]
        assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-4)
        assert [a[n] for n in ("balanced_accuracy", "macro_f1", "auroc")] == [
            b[n] for n in ("balanced_accuracy", "macro_f1", "auroc")
        ]


def test_evaluation_on_two_ranks_counts_an_odd_number_once(data, plain, tmp_path):
    assert_odd_set_counted_once(FINETUNE, plain, data, tmp_path)


def test_accumulation_gives_the_weights_of_the_joined_batch(data, pretrained, plain, cli, tmp_path):
    args = ["-batch_size", 4, "-accum_iter", 2, "-data_path", data, "-pretrained", pretrained]
    result = cli(*args, "-output", tmp_path / "run", *TINY, *PLAIN)
    assert result.returncode == 0, result.stderr
    assert_same(plain, tmp_path / "run", atol=2e-6)


def test_class_folders_without_lists_are_enough(data, cli, tmp_path):
    shutil.copytree(data / "train", tmp_path / "pets")
    for path in (tmp_path / "pets").rglob("*.jpg"):  # enough of each class that some are held out
        for twin in range(9):
            (path.parent / f"{twin} {path.name}").symlink_to(path)
    args = ["-data_path", tmp_path / "pets", "-output", tmp_path / "run", *TINY]
    result = cli(*args, "-batch_size", 8)
    assert result.returncode == 0, result.stderr
    note = re.search(r"pets: no train_list.txt, .*: 234 images, \d class folders; 26 held out as val", result.stdout)
    assert note, result.stdout
    refused = cli(*args, "-batch_size", 8, "MODEL.NUM_CLASSES", 2)
    assert refused.returncode == 3
    assert "class folders are more than the 2 classes of the model" in refused.stderr


def test_variants_train(data, pretrained, cli, tmp_path):
    """Another image size, non-square; class token; partial; other classes; from scratch."""
    common = ["-batch_size", 8, "-data_path", data]
    first = [
        "-pretrained",
        pretrained,
        "DATA.IMAGE_SIZE",
        "[12, 20]",
        "MODEL.GLOBAL_POOL",
        "False",
        "TRAIN.PARTIAL",
        0.5,
    ]
    result = cli(*common, "-output", tmp_path / "a", *TINY, *first)
    assert result.returncode == 0, result.stderr
    assert "pos_embed resized from 4x6 to 3x5 patches" in result.stdout
    before, after = load_file(pretrained / "checkpoints/step_00000005/model.safetensors"), weights(tmp_path / "a")[1]
    moved = {name for name in after if name not in before or name == "pos_embed" or (before[name] != after[name]).any()}
    assert {name.rsplit(".", 1)[0] for name in moved} == {
        "pos_embed", "norm", "head", "blocks.1.norm2", "blocks.1.mlp.fc1", "blocks.1.mlp.fc2"
    }  # fmt: skip
    other = cli(*common, "-output", tmp_path / "b", "-pretrained", tmp_path / "a" / "best", *TINY,
                "MODEL.GLOBAL_POOL", "False", "MODEL.NUM_CLASSES", 5, "TRAIN.NUM_EPOCHS", 1)  # fmt: skip
    assert other.returncode == 0, other.stderr
    assert "initial values kept: head.weight, head.bias" in other.stdout
    scratch = cli("-cfg", "vit_base_patch16_224_scratch", *common, "-output", tmp_path / "c", *TINY)
    assert scratch.returncode == 0, scratch.stderr
    assert weights(tmp_path / "c", "ema")[1].keys() == weights(tmp_path / "c")[1].keys()


def test_wrong_weights_and_wrong_labels_are_refused_by_name(data, pretrained, finished, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-output", tmp_path / "o", *TINY]
    result = cli(*args, "-pretrained", pretrained, "MODEL.ENCODER.EMBED_DIM", 8)
    assert result.returncode == 4
    assert f"{pretrained} does not fit this model: MODEL.ENCODER.EMBED_DIM is 16 in these weights, 8" in result.stderr
    result = cli(*args, "-pretrained", pretrained, "MODEL.ENCODER.DEPTH", 3)
    assert result.returncode == 4
    assert "MODEL.ENCODER.DEPTH is 2 in these weights, 3 was asked for; leave it out" in result.stderr
    result = cli(*args, "-eval", "-pretrained", pretrained)
    assert result.returncode == 4
    assert "was pre-trained and has no classifier yet: fine-tune it first" in result.stderr
    assert "NUM_CLASSES" not in result.stderr
    predicting = cli("predict", "-pretrained", pretrained, data / "val/class 0/a 0.jpg")
    assert_refused(predicting, 4, ["was pre-trained and has no classifier yet: fine-tune it first"])
    (tmp_path / "junk.safetensors").write_bytes(b"\xff" * 64)
    result = cli(*args, "-pretrained", tmp_path / "junk")
    assert result.returncode == 4
    assert "junk.safetensors" in result.stderr
    result = cli(*args, "MODEL.NUM_CLASSES", 2)
    assert result.returncode == 3
    assert "train_list.txt:3" in result.stderr
    result = cli(*args, "-eval", "-pretrained", finished[0], "MODEL.NUM_CLASSES", 5)
    assert result.returncode == 4
    assert "head.bias that fits MODEL.NUM_CLASSES=5" in result.stderr


def robustness_set(root, data):
    """Write 2 corruptions x 5 severities of two images each, of classes 0 and 2; returns {(corruption, s): files}."""
    files = {}
    for number, (corruption, severity) in enumerate((c, s) for c in ("fog", "snow") for s in range(1, 6)):
        files[corruption, severity] = []
        seen = {0: 0 if number % 3 else 2, 2: 1 if number % 4 == 1 else 2}  # some pictures are of another class
        for label, shown in seen.items():
            source = f"train/class {shown}/a {shown + 3 * (number % 8)}.jpg"
            path = root / corruption / str(severity) / f"class {label}" / "picture.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((data / source).read_bytes())
            files[corruption, severity].append((path, label))
    listed = [f"{path.relative_to(root)}\n" for pairs in files.values() for path, _ in pairs]
    (root / "val_list.txt").write_text("".join(listed))
    return files


def test_robustness_sets_are_scored_by_class_map_and_corruption(data, finished, cli, tmp_path):
    files = robustness_set(tmp_path / "c", data)
    (tmp_path / "errors.yaml").write_text("fog: 0.5\nsnow: 0.25\n")
    (tmp_path / "map.txt").write_text("class 0 0\nclass 2 2\n")
    args = ["-eval", "-pretrained", finished[0] / "best", "-output", tmp_path, "-data_path", tmp_path / "c", *TINY,
            "ROBUST.CORRUPTIONS", "True", "ROBUST.ALEXNET_ERRORS", tmp_path / "errors.yaml",
            "ROBUST.CLASS_MAP", tmp_path / "map.txt"]  # fmt: skip
    result = cli(*args)
    assert result.returncode == 0, result.stderr
    figures = scores(tmp_path)
    wrong = {key: [predict(finished[0], path) != label for path, label in pairs] for key, pairs in files.items()}
    assert 0 < sum(map(sum, wrong.values())) < 20
    assert figures["top1"] == 100 * (1 - np.mean(list(wrong.values())))
    expected = {c: np.mean([wrong[c, s] for s in range(1, 6)]) / {"fog": 0.5, "snow": 0.25}[c] for c in ("fog", "snow")}
    assert [figures["fog"], figures["snow"]] == pytest.approx([100 * expected["fog"], 100 * expected["snow"]])
    assert figures["mCE"] == pytest.approx(50 * sum(expected.values()))
    assert f"mCE {figures['mCE']:.2f}" in result.stdout
    confusion = np.loadtxt(tmp_path / "eval/confusion.csv", delimiter=",")
    assert confusion[:, 1].sum() == 0  # the output that is not in the map wins nothing
    (tmp_path / "map.txt").write_text("class 0 0\n")
    result = cli(*args)
    assert result.returncode == 3
    assert "'class 2' is not in ROBUST.CLASS_MAP" in result.stderr


def predict(run, path):
    """Classify one image as 0 or 2, without the command."""
    import paddle

    import mae_core
    from mae_data.images.formats import open_image
    from mae_data.transforms.pipelines import make_eval_transform

    model = mae_core.VisionTransformer(
        img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3, global_pool=True
    )
    arrays = load_file(run / "best" / "ema.safetensors")
    model.set_state_dict({name: paddle.to_tensor(value) for name, value in arrays.items()})
    model.eval()
    pixels = make_eval_transform(image_size=16)(open_image(path, 3), None)
    logits = model(paddle.to_tensor(pixels[None])).numpy()[0]
    return 0 if logits[0] >= logits[2] else 2
