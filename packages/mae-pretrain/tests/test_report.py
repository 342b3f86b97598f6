"""The headline of a pre-training report: which yardstick is fair."""

import json
from dataclasses import replace

import pytest

from mae_core.report.curves import curves, progress
from mae_core.report.run_files import RunFiles, read_run
from mae_core.stage.run.model_card import model_card
from mae_pretrain.report import _headline
from mae_pretrain.train import CARD

SCORES = {"mae": 0.02, "inpainting": 0.08, "mean_image": 0.1}


@pytest.mark.parametrize(
    ("normalised", "scores", "said"),
    [
        (False, SCORES, "predicted with 20 % of the mean image's error"),
        (
            True,
            {**SCORES, "patch_mean": 0.025},
            "predicted with 80 % of the error of each patch's true mean, which is given",
        ),
        (True, SCORES, "Loss 0.5000 after 2 of 3 epochs"),  # scored by an older version: nothing fair is known
    ],
)
def test_what_is_given_is_compared_with_what_is_given(tmp_path, normalised, scores, said):
    config = {"MODEL": {"NORM_PIX_LOSS": normalised}, "TRAIN": {"NUM_EPOCHS": 3}}
    train = [{"step": 8, "epoch": 2.0, "loss": 0.5, "lr": 0.1}]
    assert _headline(RunFiles(tmp_path, train, [], "", config, {}, scores, {}), scores).endswith(said)


def test_loss_and_length_are_those_of_the_console_and_the_card(tmp_path):
    """A last interval of one step, of a length that is no whole number of steps."""
    steps = [(20, 0.9), (40, 0.5), (41, 0.3)]
    lines = [{"step": n, "epoch": n / 4, "loss": loss, "lr": 0.1, "eta_s": 41.0 - n} for n, loss in steps]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps({"kind": "train", **line}) + "\n" for line in lines))
    (tmp_path / "config.yaml").write_text("TRAIN: {NUM_EPOCHS: 10.3}\n")
    run = read_run(tmp_path)
    assert _headline(run, {}) == "Loss 0.3000 after 10.25 epochs"
    assert progress(run) == "Trained to its end, step 41, epoch 10.25."
    assert "- training loss 0.3000 after step 41 (epoch 10.25)\n" in model_card(run, {}, CARD)
    pytest.importorskip("jinja2", reason="the report extra is not installed")
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    drawn = str(curves(run, "loss").body[0])
    assert "the last is 0.3000." in drawn
    assert "Training loss from 0.9000 to 0.3000 over 10.25 epochs" in drawn
    assert _headline(replace(run, train=run.train[:2]), {}) == "Loss 0.5000 after 10 of 10.3 epochs"
