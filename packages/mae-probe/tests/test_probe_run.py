"""Whole runs on real JPEG files, from the outside."""

import re
import signal

import pytest
from safetensors.numpy import load_file
from stage_runs import PROBE, assert_odd_set_counted_once, assert_same, records, scores, weights

TINY = PROBE.tiny


@pytest.fixture(scope="module")
def finished(data, pretrained, tmp_path_factory):
    """A run as the predecessor's README prints it, shrunk by KEY VALUE pairs."""
    run = tmp_path_factory.mktemp("finished") / "run"
    result = PROBE.start(
        "-cfg=./configs/vit_base_patch16_224_linearprobe.yaml", "-dataset=imagenet2012", "-batch_size=8",
        f"-data_path={data}", f"-pretrained={pretrained}", "-amp", f"-output={run}", *TINY,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return run, result.stdout


def test_only_the_head_is_trained(finished, pretrained):
    run, out = finished
    assert "weights: 30 tensors from" in out
    assert "pos_embed resized from 4x6 to 4x4 patches" in out
    assert "done: 9 steps" in out
    before = load_file(pretrained / "checkpoints/step_00000005/model.safetensors")
    model, optimizer = weights(run)[1], weights(run, "optimizer")[1]
    moved = {n for n, v in model.items() if n not in before or before[n].shape != v.shape
             or (before[n] != v).any()}  # fmt: skip
    assert moved == {"pos_embed", "head.0._mean", "head.0._variance", "head.1.weight", "head.1.bias"}
    assert optimizer.keys() == {"head.1.weight/velocity_0", "head.1.bias/velocity_0"}
    assert (model["head.0._mean"] != 0).all()
    assert [r["step"] for r in records(run) if "top1" in r] == [3, 6, 9]
    train = [r for r in records(run) if "loss" in r]
    assert train[1]["lr"] == pytest.approx(40 * 8 / 256 / 3)


def test_terminated_and_resumed_equals_uninterrupted_bit_for_bit(data, pretrained, finished, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-pretrained", pretrained, "-amp", "-output", tmp_path / "run", *TINY]
    args += ["-resume", "auto"]
    process = PROBE.begin(*args)
    for line in process.stdout:
        if " step 4/" in line:
            process.send_signal(signal.SIGTERM)
            break
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    resumed = cli(*args)
    assert resumed.returncode == 0, resumed.stderr
    assert_same(finished[0], tmp_path / "run")
    assert_same(finished[0], tmp_path / "run", file="optimizer")
    assert records(finished[0]) == records(tmp_path / "run")


def test_resume_refuses_another_cut_of_the_batch(data, finished, cli, tmp_path):
    args = ["-data_path", data, "-output", tmp_path / "o", "-resume", finished[0], "-amp", *TINY]
    result = cli(*args, "-batch_size", 4, "-accum_iter", 2)
    assert result.returncode == 4
    assert "DATA.BATCH_SIZE was 8, is 4" in result.stderr


def test_evaluation_restores_head_and_statistics(data, finished, pretrained, cli, tmp_path):
    run, _ = finished
    last = [r for r in records(run) if "top1" in r][-1]
    checkpoint = run / "checkpoints" / "step_00000009"
    args = ["-eval", "-pretrained", checkpoint, "-data_path", data, "-output", tmp_path, *TINY]
    for size in (7, 2):
        result = cli(*args, "-amp", "-batch_size", size)
        assert result.returncode == 0, result.stderr
        assert re.search(r"7 images: top-1", result.stdout)
        figures = scores(tmp_path)
        assert (figures["images"], figures["top1"]) == (7, last["top1"])
        assert figures["val_loss"] == pytest.approx(last["val_loss"], rel=1e-5)
    headless = cli("-eval", "-pretrained", pretrained, *args[3:])
    assert headless.returncode == 4
    assert "was pre-trained and has no classifier yet: probe it first" in headless.stderr


def test_two_ranks_give_the_weights_and_the_scores_of_one_process(data, pretrained, finished, tmp_path):
    args = ["-batch_size", 4, "-data_path", data, "-pretrained", pretrained, "-amp", "-output", tmp_path / "run", *TINY]
    PROBE.launch(*args)
    assert_same(finished[0], tmp_path / "run", atol=2e-5)
    assert_same(finished[0], tmp_path / "run", atol=2e-5, file="optimizer")
    one, two = ([r for r in records(run) if "top1" in r] for run in (finished[0], tmp_path / "run"))
    for a, b in zip(one, two, strict=True):  # 7 images: one rank has 4, the other 3
        assert a["top1"] == b["top1"]
        assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-4)
        assert [a[n] for n in ("balanced_accuracy", "macro_f1", "auroc")] == [
            b[n] for n in ("balanced_accuracy", "macro_f1", "auroc")
        ]


def test_evaluation_on_two_ranks_counts_an_odd_number_once(data, finished, tmp_path):
    assert_odd_set_counted_once(PROBE, finished[0], data, tmp_path)


def test_an_attentive_head_trains_alike_on_two_ranks_and_is_scored_as_what_it_is(
    data, pretrained, finished, cli, tmp_path
):
    head = ["MODEL.HEAD", "attentive", "MODEL.NUM_QUERIES", 4]
    common = ["-data_path", data, "-pretrained", pretrained, *TINY, *head]
    one = cli(*common, "-batch_size", 8, "-output", tmp_path / "one")
    assert one.returncode == 0, one.stderr
    PROBE.launch(*common, "-batch_size", 4, "-output", tmp_path / "two")
    assert_same(tmp_path / "one", tmp_path / "two", atol=5e-5)  # the batch norm's gradient crosses the ranks
    moved = weights(tmp_path / "one", "optimizer")[1]
    assert {name.partition("/")[0] for name in moved} == {
        "head.pool.queries", "head.pool.value", "head.1.weight", "head.1.bias"
    }  # fmt: skip

    words = ["-eval", "-data_path", data, "-output", tmp_path / "e", *TINY]
    result = cli(*words, *head, "-pretrained", tmp_path / "one")
    assert result.returncode == 0, result.stderr
    last = [r for r in records(tmp_path / "one") if "top1" in r][-1]
    assert scores(tmp_path / "e")["top1"] == last["top1"]
    assert scores(tmp_path / "e")["val_loss"] == pytest.approx(last["val_loss"], rel=1e-5)
    as_linear = cli(*words, "-pretrained", tmp_path / "one", "MODEL.HEAD", "linear")
    assert (as_linear.returncode, "set MODEL.HEAD as it was" in as_linear.stderr) == (4, True)
    linear = cli(*words, *head, "-pretrained", finished[0])
    assert (linear.returncode, "head.pool.queries" in linear.stderr) == (4, True)
    assert "MODEL.HEAD=attentive" in linear.stderr


def test_tokens_are_cached_for_an_attentive_head(data, pretrained, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-pretrained", pretrained, *TINY, "TRAIN.CACHE_FEATURES", "True"]
    args += ["MODEL.HEAD", "attentive", "MODEL.NUM_QUERIES", 4, "TRAIN.NUM_EPOCHS", 40, "TRAIN.BASE_LR", 400.0]
    result = cli(*args, "-output", tmp_path / "run", "SAVE_FREQ", 40, "VALIDATE_FREQ", 40)
    assert result.returncode == 0, result.stderr
    assert records(tmp_path / "run")[-1]["top1"] > 70  # colours tell the classes


def test_cached_features_say_what_they_are_learn_and_resume(data, pretrained, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-pretrained", pretrained, *TINY, "TRAIN.CACHE_FEATURES", "True",
            "TRAIN.NUM_EPOCHS", 40, "TRAIN.BASE_LR", 400.0, "SAVE_FREQ", 20, "VALIDATE_FREQ", 20]  # fmt: skip
    whole = cli(*args, "-output", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    assert "not the same: do not compare" in whole.stdout + whole.stderr
    rest = cli(*args, "-output", tmp_path / "rest", "-resume", tmp_path / "whole/checkpoints/step_00000060")
    assert rest.returncode == 0, rest.stderr
    assert_same(tmp_path / "whole", tmp_path / "rest")
    assert_same(tmp_path / "whole", tmp_path / "rest", file="optimizer")
    figures = records(tmp_path / "whole")[-1]
    assert figures["top1"] > 70  # colours tell the classes
    assert figures["val_loss"] < 0.8  # chance: 1.1
