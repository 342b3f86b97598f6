"""The loop: resume, accumulation, clipping, bad losses and signals, with a tiny model."""

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

import mae_core
from mae_core.errors import CheckpointError, NonFiniteError, Stopped
from mae_core.ops import products
from mae_core.process import log
from mae_core.process.signals import Stop
from mae_core.training import engine, meters
from mae_core.training.checkpoints import retention
from mae_core.training.engine import Trainer
from mae_core.training.meters import SlowData
from mae_core.training.optim import Ema, build_adamw, trainable
from mae_core.training.plan import Plan
from mae_core.training.precision import Precision
from mae_core.training.run_folder import RunFolder
from mae_core.training.sharding import ShardedOptimizer
from mae_core.training.validation import Validation
from mae_core.weights.checkpoint_folder import (
    RESUMED,
    list_checkpoints,
    newest_checkpoint,
    open_checkpoint,
    step_folder,
)
from mae_core.weights.checkpoint_state import Best, Validated
from mae_core.weights.load import load_model

PLAN = Plan(steps_per_epoch=4, total_steps=12, report_freq=5, save_freq=4, keep=3)


@pytest.fixture(autouse=True)
def quiet():
    log.setup(main=False)


class Batch(NamedTuple):
    images: paddle.Tensor
    step: int

    @property
    def indices(self):
        return paddle.to_tensor([self.step])


def batch(step, rows=8):
    x = np.random.default_rng(step).standard_normal((rows, 6)).astype("float32")
    return Batch(paddle.to_tensor(x), step)


def loss_fn(model, data, epoch):
    x, _step = data
    noisy = paddle.nn.functional.dropout(x, 0.2, training=model.training)  # draws: resume must repeat them
    return model(noisy).square().mean() * (1 + epoch), {}


def make(folder=None, plan=PLAN, loss=loss_fn):
    paddle.seed(0)
    model = paddle.nn.Sequential(paddle.nn.Linear(6, 5), paddle.nn.GELU(), paddle.nn.Linear(5, 3))
    return Trainer(
        model=model,
        optimizer=build_adamw(model),
        loss_fn=loss,
        lr_at=lambda epoch: 0.01 * (1 + epoch),
        plan=plan,
        precision=Precision(False),
        folder=folder,
        config={"A": 1},
        describe=lambda indices: f"files of step {indices[0]}",
    )


def plain_descent(trainer):
    return paddle.optimizer.SGD(parameters=trainer.model.parameters())


def weights(trainer):
    return {name: p.numpy() for name, p in trainer.model.named_parameters()}


def assert_equal(a, b):
    for name, value in weights(a).items():
        np.testing.assert_array_equal(value, weights(b)[name], err_msg=name)


def records(folder):
    timing = ("images_per_s", "data_wait", "s_per_step", "eta_s", "memory_mb", "seconds")
    lines = [json.loads(line) for line in folder.log.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in timing} for line in lines]


def stream(start=0):
    return (batch(step) for step in range(start, 10**6))


@pytest.mark.parametrize("stop_at", [1, 4, 6, 7, 11])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, stop_at):
    whole = make(RunFolder(tmp_path / "whole"))
    whole.fit(stream())

    def until(start):
        for step in range(start, PLAN.total_steps):
            if step == stop_at - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch(step)

    first = make(RunFolder(tmp_path / "parts"))
    with pytest.raises(Stopped) as stopped:
        first.fit(until(0))
    assert stopped.value.exit_code == 143
    first.folder.close()
    second = make(RunFolder(tmp_path / "parts"))
    second.resume(newest_checkpoint(second.folder.checkpoints, print))
    assert second.step == stop_at
    second.fit(stream(stop_at))
    assert_equal(whole, second)
    assert records(whole.folder) == records(second.folder)


def test_a_run_of_the_first_release_goes_on(tmp_path):
    """`schema_1` holds step 6 of the very run that `scored` makes, stopped there by version 0.1.0."""
    whole = scored(RunFolder(tmp_path / "whole"), {4: 0.5, 8: 0.9, 12: 0.7}, ema=0.9)
    whole.fit(stream())
    shutil.copytree(Path(__file__).parent / "schema_1", tmp_path / "old" / "checkpoints")
    old = scored(RunFolder(tmp_path / "old"), {8: 0.9, 12: 0.7}, ema=0.9)
    checkpoint = newest_checkpoint(old.folder.checkpoints, print, RESUMED)
    assert checkpoint.state.validation == Validated(Best(4, 0.5), 4)
    old.resume(checkpoint)
    assert (old.step, old.validation.best) == (6, None)  # the best one's folder is not there
    old.fit(stream(6))
    for name, value in weights(whole).items():  # the processor that wrote it may round otherwise
        np.testing.assert_allclose(weights(old)[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_resume_from_an_older_checkpoint_rewrites_the_log(tmp_path):
    first = make(RunFolder(tmp_path))
    first.fit(stream())
    before = records(first.folder)
    first.folder.close()
    second = make(RunFolder(tmp_path))
    oldest = list_checkpoints(second.folder.checkpoints)[-1]
    second.resume(open_checkpoint(oldest))
    assert second.step == 4
    second.fit(stream(4))
    assert_equal(first, second)
    assert records(second.folder) == before


def test_checkpoints_follow_the_plan(tmp_path):
    make(RunFolder(tmp_path), Plan(steps_per_epoch=4, total_steps=10, save_freq=4, keep=2)).fit(stream())
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000010", "step_00000008"]


def test_accumulated_batches_equal_the_joined_batch():
    def plain(model, data, epoch):
        return model(data[0]).square().mean(), {}

    joined = make(plan=Plan(steps_per_epoch=5, total_steps=5), loss=plain)
    joined.optimizer = plain_descent(joined)  # AdamW takes a gradient of twice the size for the same
    joined.fit(batch(step) for step in range(5))
    halves = make(plan=Plan(steps_per_epoch=5, total_steps=5, accum_iter=2), loss=plain)
    halves.optimizer = plain_descent(halves)
    halves.fit(Batch(batch(step).images[i * 4 : i * 4 + 4], step) for step in range(5) for i in range(2))
    for name, value in weights(joined).items():
        np.testing.assert_allclose(weights(halves)[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_figures_of_the_loss_are_averaged_over_accumulated_batches_and_the_interval(tmp_path):
    def told(model, data, epoch):
        return model(data.images).square().mean(), {"first": float(data.images[0, 0]), "number": float(data.step)}

    plan = Plan(steps_per_epoch=2, total_steps=2, accum_iter=2, report_freq=2)
    trainer = make(RunFolder(tmp_path), plan, told)
    trainer.fit(stream())
    (record,) = records(trainer.folder)
    assert record["kind"] == "train"
    assert record["number"] == 1.5  # of batches 0 to 3
    assert record["first"] == pytest.approx(np.mean([float(batch(i).images[0, 0]) for i in range(4)]))


def test_losses_and_figures_are_averaged_over_ranks_and_one_rank_s_signal_stops_all(monkeypatch):
    other = [8.0, 3.0 / 2, 10.0 / 2, 0.0, 0.0, 1.0]  # images, loss, figure, requeue, terminated, interrupted
    monkeypatch.setattr(meters.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(
        engine.distributed, "sum_over_ranks", lambda own: [a + b for a, b in zip(own, other, strict=True)]
    )
    summed, asked = meters.mean_over_ranks(
        meters.StepMetrics(loss=1.0, metrics={"top1": 20.0}, images=4.0, waited=0.5), None
    )
    assert (summed.loss, summed.metrics, summed.images, summed.waited) == (2.0, {"top1": 15.0}, 12.0, 0.5)
    assert asked is Stop.INTERRUPTED


def test_the_images_of_a_step_are_those_of_all_its_batches(monkeypatch):
    trainer = make(plan=Plan(steps_per_epoch=2, total_steps=2, accum_iter=2))
    told = []
    monkeypatch.setattr(trainer.progress, "step_done", lambda step, lr, figures, images, waited: told.append(images))
    trainer.fit(batch(step, rows) for step, rows in enumerate((8, 3, 8, 1)))
    assert told == [11, 9]


def test_what_is_drawn_depends_on_seed_step_and_rank_only(monkeypatch):
    def drawn(rank=0, seed=0, before=1, first=0):
        seen = []

        def loss(model, data, epoch):
            seen.append(paddle.rand([4]).tolist())
            return model(data.images).square().mean(), {}

        monkeypatch.setattr(engine.distributed, "rank", lambda: rank)
        trainer = make(plan=Plan(steps_per_epoch=2, total_steps=2, seed=seed), loss=loss)
        trainer.step = first
        paddle.seed(before)
        trainer.fit(stream())
        return seen

    one, two = drawn()
    assert drawn(before=7) == [one, two]
    assert drawn(before=7, first=1) == [two]
    others = [*drawn(rank=1), *drawn(seed=1), *drawn(rank=1, seed=1)]
    assert len({tuple(values) for values in [one, two, *others]}) == 8


def test_nan_loss_stops_before_the_update_and_names_the_batch(tmp_path):
    def bad(model, data, epoch):
        loss, metrics = loss_fn(model, data, epoch)
        return loss * (float("nan") if data[1] == 6 else 1.0), metrics

    trainer = make(RunFolder(tmp_path), loss=bad)
    trainer.program = "stage"
    with pytest.raises(NonFiniteError, match=r"epoch 1 step 6 .*files of step 6") as error:
        trainer.fit(stream())
    assert error.value.exit_code == 5
    assert "stage -cfg " in str(error.value)
    kept = json.loads((tmp_path / "capture" / "batch.json").read_text())
    assert (kept["step"], kept["epoch"], kept["seed"]) == (6, 1, PLAN.seed)
    assert kept["passes"] == [{"rank": 0, "loss": "nan", "indices": [6], "files": "files of step 6"}]
    trainer.folder.close()
    again = make(RunFolder(tmp_path / "replay"), loss=bad)
    again.resume(newest_checkpoint(tmp_path / "capture" / "checkpoints", print))
    assert_equal(again, trainer)
    with pytest.raises(NonFiniteError, match=r"epoch 1 step 6 .*files of step 6"):
        again.fit(stream(6))
    assert all(np.isfinite(value).all() for value in weights(trainer).values())
    good = make(plan=Plan(steps_per_epoch=4, total_steps=6))
    good.fit(stream())
    assert_equal(trainer, good)


class _NanGradient(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * float("nan")


def test_nan_gradients_are_skipped_and_end_the_run_when_they_go_on():
    def bad_from(first, last):
        def loss(model, data, epoch):
            value, metrics = loss_fn(model, data, epoch)
            return (_NanGradient.apply(value) if first <= data[1] < last else value), metrics

        return loss

    skipping = make(loss=bad_from(3, 5))
    skipping.fit(stream())
    assert all(np.isfinite(value).all() for value in weights(skipping).values())
    ending = make(loss=bad_from(3, 99), plan=Plan(steps_per_epoch=4, total_steps=12, max_bad_steps=4))
    with pytest.raises(NonFiniteError, match="4 steps in a row"):
        ending.fit(stream())
    assert ending.step == 6


def test_gradients_that_are_nan_before_and_after_a_stop_are_counted_together(tmp_path):
    def bad(model, data, epoch):
        value, metrics = loss_fn(model, data, epoch)
        return (_NanGradient.apply(value) if data.step >= 6 else value), metrics

    plan = replace(PLAN, max_bad_steps=4)
    first = make(RunFolder(tmp_path), plan, bad)
    with pytest.raises(NonFiniteError, match="4 steps in a row"):
        first.fit(stream())
    first.folder.close()
    second = make(RunFolder(tmp_path), plan, bad)
    checkpoint = step_folder(second.folder.checkpoints, 8)  # after steps 6 and 7
    second.resume(open_checkpoint(checkpoint))
    with pytest.raises(NonFiniteError, match="4 steps in a row"):
        second.fit(stream(8))
    assert (first.step, second.step) == (9, 9)


class FakeScaler:
    """What Paddle's loss scaler does on a GPU, by a power of two, so that no bit is lost."""

    def __init__(self):
        self.parameters, self.unscaled, self.updates = [], False, 0

    def scale(self, loss):
        return loss * 1024.0

    def unscale_(self, optimizer):
        assert not self.unscaled
        with paddle.no_grad():
            for p in optimizer._parameter_list:
                p.grad.scale_(1 / 1024)
        self.unscaled = True

    def step(self, optimizer):
        if not self.unscaled:
            self.unscale_(optimizer)
        optimizer.step()

    def update(self):
        self.unscaled, self.updates = False, self.updates + 1

    def state_dict(self):
        return {"scale": np.array([1024.0], "float32"), "incr_count": self.updates}

    def load_state_dict(self, state):
        assert state["scale"].tolist() == [1024.0]
        self.updates = state["incr_count"]


def test_a_scaled_loss_trains_as_the_plain_one_and_its_scaler_is_saved(tmp_path):
    runs = {}
    for name in ("plain", "scaled"):
        runs[name] = make(RunFolder(tmp_path / name), replace(PLAN, clip_grad=0.05))
        runs[name].precision.scaler = FakeScaler() if name == "scaled" else None
        runs[name].fit(stream())
    assert_equal(runs["plain"], runs["scaled"])
    assert records(runs["plain"].folder) == records(runs["scaled"].folder)  # the gradient's norm, too
    runs["scaled"].folder.close()
    resumed = make(RunFolder(tmp_path / "scaled"), PLAN)
    resumed.precision.scaler = FakeScaler()
    resumed.resume(newest_checkpoint(resumed.folder.checkpoints, print))
    assert resumed.precision.scaler.updates == 12


def test_clipping_bounds_the_update_direction():
    clipped = make(plan=Plan(steps_per_epoch=4, total_steps=1, clip_grad=1e-12))
    before = weights(clipped)
    clipped.fit(stream())
    free = make(plan=Plan(steps_per_epoch=4, total_steps=1))
    free.fit(stream())
    moved = lambda t: max(np.abs(weights(t)[n] - before[n]).max() for n in before)  # noqa: E731
    assert moved(clipped) < 0.1 * moved(free)  # epsilon 1e-8 outweighs a gradient of 1e-12


def test_log_lines_say_what_matters(tmp_path, capsys):
    log.setup(main=True)
    make(RunFolder(tmp_path)).fit(stream())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # after steps 5, 10 and 12
    for word in (
        "step 12/12",
        "loss",
        "lr 3.75e-02",
        "images/s",
        "data wait",
        "memory",
        "eta 0:00:00",
        "epoch 3.00/3",
    ):
        assert word in lines[-1]
    assert [r["step"] for r in records(RunFolderView(tmp_path))] == [5, 10, 12]


class RunFolderView:
    def __init__(self, path):
        self.log = path / "log.jsonl"


def test_mixed_precision_on_cpu_says_what_runs(monkeypatch):
    said = []
    monkeypatch.setattr(products, "why_no_bfloat16", lambda: "it has none")
    assert Precision(True, info=said.append).dtype is None
    monkeypatch.setattr(products, "why_no_bfloat16", lambda: "")
    precision = Precision(True, info=said.append)
    assert precision.dtype == "bfloat16"
    assert precision.scaler is None
    assert Precision(False, "float16", said.append).dtype is None
    assert said == [
        "precision: float32 (-amp asked for bfloat16: it has none)",
        "precision: bfloat16 in matrix products",
        "precision: float32",
    ]
    with pytest.raises(mae_core.errors.ConfigError, match="AMP_DTYPE=float16 needs a GPU; on a CPU use AMP_DTYPE bfl"):
        Precision(True, "float16")
    with pytest.raises(mae_core.errors.ConfigError, match="bfloat16, float16"):
        Precision(True, "int8")


def scored(folder, marks, ema=None, keep=1, save_freq=12):
    """A trainer that is validated every 4 steps; `marks` are the scores by step, None for one cut short."""
    trainer = make(folder, Plan(steps_per_epoch=4, total_steps=12, report_freq=5, save_freq=save_freq, keep=keep))
    trainer.ema = Ema(trainer.model, ema) if ema else None
    seen = []

    def evaluate(model, step, should_stop):
        assert not model.training
        seen.append((step, model[0].weight.numpy().copy()))
        mark = marks[step]
        return None if mark is None else {"top1": mark, "val_loss": 1.0}

    trainer.validation = Validation(evaluate, every=4)
    trainer.seen = seen
    return trainer


def test_the_best_checkpoint_is_kept_and_linked_beside_the_newest(tmp_path):
    trainer = scored(RunFolder(tmp_path), {4: 0.5, 8: 0.9, 12: 0.7})
    trainer.fit(stream())
    assert trainer.model.training
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000012", "step_00000008"]
    assert (tmp_path / "best").resolve().name == "step_00000008"
    assert json.loads((tmp_path / "best" / "state.json").read_text())["validation"]["best"]["score"] == 0.9
    marks = [(r["step"], r["top1"]) for r in records(trainer.folder) if "top1" in r]
    assert marks == [(4, 0.5), (8, 0.9), (12, 0.7)]


def test_the_last_step_is_scored_too_and_no_step_twice():
    validation = Validation(lambda model, step, should_stop: {"top1": 1.0}, every=5)
    assert [step for step in range(13) if validation.due(step, 12)] == [5, 10, 12]
    validation.scored = 10
    assert not validation.due(10, 12)
    assert not Validation(every=5).due(5, 12)  # nothing scores


def test_of_equal_scores_the_first_is_the_best(tmp_path):
    trainer = scored(RunFolder(tmp_path), {4: 0.9, 8: 0.9, 12: 0.8})
    trainer.fit(stream())
    assert trainer.validation.best == Best(4, 0.9)
    assert (tmp_path / "best").resolve().name == "step_00000004"


def test_a_failing_save_deletes_neither_the_best_nor_the_last_good_checkpoint(tmp_path, monkeypatch):
    trainer = scored(RunFolder(tmp_path), {4: 0.9, 8: 0.5, 12: 0.95}, save_freq=8)
    from mae_core.training.checkpoints import checkpoint

    write = checkpoint.write_safetensors

    def full_later(path, arrays, header):
        if "00000012" in str(path):
            raise OSError(28, "No space left on device")
        return write(path, arrays, header)

    monkeypatch.setattr(checkpoint, "write_safetensors", full_later)
    with pytest.raises(CheckpointError, match="No space left"):
        trainer.fit(stream())
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000008", "step_00000004"]
    assert (tmp_path / "best").resolve().name == "step_00000004"


def test_validation_cut_short_by_a_signal_is_made_up_for_on_resume(tmp_path):
    whole = scored(RunFolder(tmp_path / "whole"), {4: 0.5, 8: 0.9, 12: 0.7}, ema=0.9)
    whole.fit(stream())
    for cut in (8, 12):  # in the middle, and after the last step
        first = scored(RunFolder(tmp_path / str(cut)), {4: 0.5, 8: 0.9, 12: 0.7} | {cut: None}, ema=0.9)
        with pytest.raises(Stopped):
            first.fit(stream())
        first.folder.close()
        second = scored(RunFolder(tmp_path / str(cut)), {8: 0.9, 12: 0.7}, ema=0.9)
        second.resume(newest_checkpoint(second.folder.checkpoints, print))
        second.fit(stream(second.step))
        assert_equal(whole, second)
        for (step, a), (other, b) in zip(whole.seen[-len(second.seen) :], second.seen, strict=True):
            assert step == other
            np.testing.assert_array_equal(a, b)  # the averaged weights, too, went on exactly
        assert records(whole.folder) == records(second.folder)
        assert second.validation.best == Best(8, 0.9)


def test_what_was_trained_is_on_the_disk_before_it_is_scored(tmp_path):
    """A list's broken file, a non-finite output or a kill ends a validation: training is kept, scoring made up for."""
    whole = scored(RunFolder(tmp_path / "whole"), {4: 0.5, 8: 0.9, 12: 0.7})
    whole.fit(stream())
    for failing in (4, 12):
        first = scored(RunFolder(tmp_path / str(failing)), {4: 0.5, 8: 0.9, 12: 0.7})
        evaluate = first.validation.evaluate

        def broken(model, step, should_stop, evaluate=evaluate, failing=failing):
            if step == failing:
                raise NonFiniteError("the output is not finite")
            return evaluate(model, step, should_stop)

        first.validation.evaluate = broken
        with pytest.raises(NonFiniteError):
            first.fit(stream())
        first.folder.close()
        second = scored(RunFolder(tmp_path / str(failing)), {4: 0.5, 8: 0.9, 12: 0.7})
        second.resume(newest_checkpoint(second.folder.checkpoints, print))
        assert second.step == failing
        second.fit(stream(failing))
        assert second.seen[0][0] == failing
        assert_equal(whole, second)
        assert records(whole.folder) == records(second.folder)
        assert (second.folder.path / "best").resolve().name == "step_00000008"


def test_going_back_leaves_the_course_that_was_abandoned(tmp_path):
    """Past a damaged newest checkpoint, or from the best: what is beyond the step taken up must not pass for newer."""
    whole = scored(RunFolder(tmp_path / "whole"), {4: 0.9, 8: 0.5, 12: 0.7})
    whole.fit(stream())
    for back in ("damaged", "best"):
        first = scored(RunFolder(tmp_path / back), {4: 0.9, 8: 0.5, 12: 0.7})
        first.fit(stream())
        first.folder.close()
        newest = list_checkpoints(first.folder.checkpoints)[0]
        if back == "damaged":
            (newest / "model.safetensors").write_bytes(b"")
            found = newest_checkpoint(first.folder.checkpoints, print)
        else:
            found = open_checkpoint(tmp_path / back / "best")
        second = scored(RunFolder(tmp_path / back), {8: 0.5, 12: None})
        second.resume(found)
        assert second.step == 4
        with pytest.raises(Stopped):
            second.fit(stream(4))
        assert [p.name for p in list_checkpoints(tmp_path / back / "checkpoints")] == ["step_00000012", "step_00000004"]
        assert_equal(whole, second)
        assert second.validation.best == Best(4, 0.9)


def test_a_score_that_was_logged_and_not_kept_is_logged_once(tmp_path, monkeypatch):
    from mae_core.training.checkpoints import retention

    whole = scored(RunFolder(tmp_path / "whole"), {4: 0.5, 8: 0.9, 12: 0.7})
    whole.fit(stream())
    first = scored(RunFolder(tmp_path / "cut"), {4: 0.5, 8: 0.9})
    keep = retention.update_state

    def killed(checkpoint, changes):
        if first.step == 8:
            raise KeyboardInterrupt
        keep(checkpoint, changes)

    monkeypatch.setattr(retention, "update_state", killed)
    with pytest.raises(KeyboardInterrupt):
        first.fit(stream())
    monkeypatch.setattr(retention, "update_state", keep)
    first.folder.close()
    second = scored(RunFolder(tmp_path / "cut"), {8: 0.9, 12: 0.7})
    second.resume(newest_checkpoint(second.folder.checkpoints, print))
    second.fit(stream(8))
    assert records(whole.folder) == records(second.folder)


def test_a_checkpoint_holds_the_score_of_its_own_weights(tmp_path):
    scored(RunFolder(tmp_path), {4: 0.5, 8: 0.9, 12: 0.7}, keep=3).fit(stream())
    for checkpoint, best in zip(list_checkpoints(tmp_path / "checkpoints"), (8, 8, 4), strict=True):
        state = open_checkpoint(checkpoint).state  # the checksums still hold
        assert state.validation.scored == state.step
        assert state.validation.best.step == best


def test_resumed_without_validation_the_best_is_kept(tmp_path):
    first = scored(RunFolder(tmp_path), {4: 0.9, 8: 0.5, 12: None})
    with pytest.raises(Stopped):
        first.fit(stream())
    first.folder.close()
    second = make(RunFolder(tmp_path), Plan(steps_per_epoch=4, total_steps=20, save_freq=4, keep=1))
    second.resume(newest_checkpoint(second.folder.checkpoints, print))
    second.fit(stream(12))
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000020", "step_00000004"]
    assert (tmp_path / "best").resolve().name == "step_00000004"
    assert (tmp_path / "best" / "state.json").exists()
    second.folder.close()
    third = scored(RunFolder(tmp_path), {20: 0.95, 12: 0.1})
    third.resume(newest_checkpoint(tmp_path / "checkpoints", print))
    assert third.validation.best == Best(4, 0.9)


def test_resumed_in_another_folder_the_best_starts_anew(tmp_path):
    first = scored(RunFolder(tmp_path / "a"), {4: 0.9, 8: 0.8, 12: 0.7}, keep=2)
    first.fit(stream())
    best = (tmp_path / "a" / "best").resolve()
    for start, name in (((tmp_path / "a" / "best"), "b"), (best.with_name("step_00000008"), "c")):
        second = scored(RunFolder(tmp_path / name), {8: 0.5, 12: 0.6}, keep=2)
        second.resume(open_checkpoint(start))
        second.fit(stream(second.step))
        assert (tmp_path / name / "best").resolve() == (tmp_path / name / "checkpoints" / "step_00000012").resolve()
        assert second.validation.best == Best(12, 0.6)


def test_averaged_weights_follow_the_formula_and_load_as_the_models(tmp_path):
    trainer = make(RunFolder(tmp_path), Plan(steps_per_epoch=4, total_steps=3, save_freq=1, keep=3))
    expected = {name: p.numpy().astype("float64") for name, p in trainer.model.named_parameters()}
    trainer.ema = Ema(trainer.model, 0.75)
    trainer.fit(stream())
    for checkpoint in reversed(list_checkpoints(tmp_path / "checkpoints")):
        after = load_file(checkpoint / "model.safetensors")
        expected = {name: 0.75 * value + 0.25 * after[name] for name, value in expected.items()}
    averaged = make()
    assert load_model(tmp_path, averaged.model).name == "ema.safetensors"
    for name, value in weights(averaged).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-8, err_msg=name)
    assert not np.allclose(weights(trainer)["0.weight"], expected["0.weight"], rtol=1e-4)


def broken_stream(at):
    """Batches up to a step, at which none can be had."""
    yield from (batch(step) for step in range(at))
    raise OSError("the disk is gone")


def test_what_was_trained_is_saved_when_no_more_data_come(tmp_path):
    whole = make(RunFolder(tmp_path / "whole"))
    whole.fit(stream())
    first = make(RunFolder(tmp_path / "run"))
    with pytest.raises(OSError, match="the disk is gone"):
        first.fit(broken_stream(at=7))
    first.folder.close()
    second = make(RunFolder(tmp_path / "run"))
    second.resume(newest_checkpoint(second.folder.checkpoints, print))
    assert second.step == 7
    second.fit(stream(7))
    assert_equal(whole, second)


@pytest.mark.parametrize("passes", [7, 8])
def test_what_is_saved_when_no_more_data_come_holds_nothing_of_half_a_step(tmp_path, passes):
    def build(name):
        trainer = make(RunFolder(tmp_path / name), replace(PLAN, accum_iter=2))
        trainer.model = paddle.nn.Sequential(paddle.nn.BatchNorm1D(6), *trainer.model)
        trainer.optimizer = build_adamw(trainer.model)
        trainer.__post_init__()
        return trainer

    whole, first = build("whole"), build("run")
    whole.fit(stream())
    with pytest.raises(OSError, match="the disk is gone"):
        first.fit(broken_stream(at=passes))
    first.folder.close()
    second = build("run")
    second.resume(newest_checkpoint(second.folder.checkpoints, print))
    assert second.step == passes // 2
    second.fit(stream(2 * second.step))
    for name, value in whole.model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), second.model.state_dict()[name].numpy(), err_msg=name)


def test_a_rank_whose_data_fail_saves_nothing_where_the_optimizer_is_sharded(tmp_path, caplog):
    """The others take no part: to wait for their moments would be for ever."""
    trainer = make(RunFolder(tmp_path))
    trainer.optimizer = ShardedOptimizer(trainer.optimizer, [p for _, p in trainable(trainer.model)])
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.fit(broken_stream(at=7))
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000004"]
    assert "steps since the last checkpoint are lost" in caplog.text


def test_a_run_without_one_step_leaves_no_checkpoint(tmp_path):
    trainer = make(RunFolder(tmp_path))
    with pytest.raises(OSError, match="the disk is gone"):
        trainer.fit(broken_stream(at=0))
    assert list_checkpoints(trainer.folder.checkpoints) == []


def test_a_signal_while_no_data_come_saves_and_stops(tmp_path):
    """The loader asks `stopping`, and gives up."""
    trainer = make(RunFolder(tmp_path))

    def hanging():
        yield from (batch(step) for step in range(5))
        assert not trainer.stopping()
        os.kill(os.getpid(), signal.SIGTERM)
        assert trainer.stopping()
        raise OSError("given up")

    with pytest.raises(Stopped, match="after step 5, while no data came; resume") as stopped:
        trainer.fit(hanging())
    assert stopped.value.exit_code == 143
    assert list_checkpoints(tmp_path / "checkpoints")[0].name == "step_00000005"


def test_a_wait_for_data_is_warned_of_once_and_not_for_the_first_interval():
    slow = SlowData("use more workers")
    shares = [0.9, 0.2, 0.31, 0.8]
    warnings = ["", "", "training waits for data 31% of the time: use more workers", ""]
    assert [slow.after_interval(share) for share in shares] == warnings
    assert [SlowData("").after_interval(share) for share in shares] == [""] * 4


def test_the_log_says_that_training_waits_for_data(capsys):
    log.setup(main=True)
    trainer = make()
    trainer = replace(trainer, data_advice="use more workers", plan=replace(PLAN, report_freq=2))

    def slow():
        for step in range(12):
            time.sleep(0.02)
            yield batch(step)

    trainer.fit(slow())
    written = capsys.readouterr()
    assert (written.out + written.err).count("of the time: use more workers") == 1


def slowed(monkeypatch, until):
    """Let the writing of each checkpoint wait for something."""
    write = retention.write_snapshot
    monkeypatch.setattr(retention, "write_snapshot", lambda *args: until() and write(*args))


def test_training_goes_on_while_a_checkpoint_is_written_and_ends_after_it(tmp_path, monkeypatch):
    gate, seen = threading.Event(), {}
    slowed(monkeypatch, lambda: gate.wait(30))
    trainer = make(RunFolder(tmp_path))

    def batches():
        for step in range(12):
            seen[step] = len(list_checkpoints(tmp_path / "checkpoints"))
            if step == 7:
                gate.set()
            yield batch(step)

    trainer.fit(batches())
    assert [seen[step] for step in (4, 5, 6, 7)] == [0, 0, 0, 0]  # step 4 is saved, trained on, and not there yet
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == [
        f"step_000000{n}" for n in ("12", "08", "04")
    ]
    whole = make()
    whole.fit(stream())
    assert_equal(whole, trainer)


def test_a_signal_while_a_checkpoint_is_written_waits_for_it(tmp_path, monkeypatch):
    slowed(monkeypatch, lambda: time.sleep(0.2) or True)

    def until():
        for step in range(12):
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch(step)

    with pytest.raises(Stopped):
        make(RunFolder(tmp_path)).fit(until())
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000005", "step_00000004"]
    assert open_checkpoint(tmp_path / "checkpoints" / "step_00000005", RESUMED).state.step == 5


def test_a_checkpoint_that_cannot_be_written_ends_the_run_at_the_next_step(tmp_path, monkeypatch):
    from mae_core.training.checkpoints import checkpoint

    trainer, write = make(RunFolder(tmp_path)), checkpoint.write_safetensors

    def full_later(path, arrays, header):
        if "00000008" in str(path):
            raise OSError(28, "No space left on device")
        return write(path, arrays, header)

    def batches():
        for step in range(12):
            while trainer.checkpoints._writer.busy:
                time.sleep(0.001)
            yield batch(step)

    monkeypatch.setattr(checkpoint, "write_safetensors", full_later)
    with pytest.raises(CheckpointError, match=r"step_00000008 could not be written.*No space.*earlier ones are intact"):
        trainer.fit(batches())
    assert trainer.step == 9
    assert [p.name for p in list_checkpoints(tmp_path / "checkpoints")] == ["step_00000004"]


def plain(model, data, epoch):
    return model(data.images).square().mean(), {}


def test_accumulated_gradients_are_the_joined_batch_s_and_all_images_count(tmp_path):
    """AdamW hardly sees a factor on all gradients, so the norm is compared."""
    joined = make(RunFolder(tmp_path / "joined"), Plan(steps_per_epoch=1, total_steps=1, report_freq=1), plain)
    joined.fit(stream())
    halves = make(RunFolder(tmp_path / "halves"), replace(joined.plan, accum_iter=2), plain)
    counted, step_done = [], halves.progress.step_done
    halves.progress.step_done = lambda *given: (counted.append(given[3]), step_done(*given))
    halves.fit(Batch(batch(0).images[i * 4 : i * 4 + 4], 0) for i in range(2))
    norms = [records(trainer.folder)[0]["grad_norm"] for trainer in (joined, halves)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert counted == [8]
