"""The headline of a pre-training report: which yardstick is fair."""

import pytest

from mae_core.report.run_files import RunFiles
from mae_pretrain.report import _headline

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
