"""Classifiers of images that are not 8-bit pictures: trained, asked and exported."""

import json

import numpy as np
import pytest

import mae_finetune
from mae_core.errors import ConfigError
from mae_core.stage.inheritance import load_config
from mae_finetune.config import RECIPE

TINY = {
    "DATA.IMAGE_SIZE": 16, "DATA.IMAGE_CHANNELS": 2, "DATA.VALUE_RANGE": 10000, "DATA.NUM_WORKERS": 0,
    "DATA.BATCH_SIZE": 6, "DATA.CROP_PCT": 1.0, "DATA.IMAGENET_MEAN": [0.4, 0.6], "DATA.IMAGENET_STD": [0.2, 0.3],
    "DATA.VFLIP": 0.5, "DATA.ROTATE90": True, "MODEL.PATCH_SIZE": 8, "MODEL.ENCODER.EMBED_DIM": 16,
    "MODEL.ENCODER.DEPTH": 1, "MODEL.ENCODER.NUM_HEADS": 2, "TRAIN.RAND_AUGMENT": False, "TRAIN.NUM_EPOCHS": 1,
    "TRAIN.WARMUP_EPOCHS": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("deep"), np.random.default_rng(0)
    for name in ("high", "low"):
        (root / "data" / name).mkdir(parents=True)
        for i in range(12):
            np.save(root / "data" / name / f"{i}.npy", rng.integers(0, 10000, (20, 20, 2)).astype(np.uint16))
    mae_finetune.finetune(root / "data", output=root / "run", settings=TINY)
    return root


def test_predict_and_export_ask_nothing_of_training(run, tmp_path):
    files = sorted((run / "data" / "low").iterdir())[:3]
    said = mae_finetune.predict(run / "run", files)
    assert [p.image for p in said] == [str(file) for file in files]
    assert {guess.name for guess in said[0].guesses} == {"high", "low"}
    assert sum(guess.probability for guess in said[0].guesses) == pytest.approx(1, abs=1e-5)
    mae_finetune.export_classifier(run / "run", tmp_path / "exported")
    facts = json.loads((tmp_path / "exported" / "export.json").read_text())
    assert facts["value_range"] == [0, 10000]


def test_training_still_asks_it(run):
    flags = {"DATA.DATA_PATH": str(run / "data"), "DATA.VALUE_RANGE": 10000, "DATA.IMAGE_CHANNELS": 2}
    with pytest.raises(ConfigError, match=r"RAND_AUGMENT=True works on 8-bit .*DATA.VFLIP"):
        load_config(RECIPE, None, flags)
    with pytest.raises(ConfigError, match="BATCH_SIZE=3 is odd"):
        load_config(RECIPE, None, {"DATA.BATCH_SIZE": 3})
