"""Classifiers of images that are not 8-bit pictures: trained, asked and exported."""

import json

import numpy as np
import pytest

import mae_finetune
from mae_core.errors import ConfigError
from mae_core.stage.config.from_weights import load_config
from mae_data.errors import DataError
from mae_finetune.config import RECIPE
from mae_finetune.prediction.command import PredictionFiles, run_predict

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


@pytest.mark.parametrize("batch_size", [4, 100])  # decoded by workers, or here
def test_predictions_of_all_but_a_bad_file(run, tmp_path, batch_size, capsys, caplog):
    files = []
    for i, source in enumerate(sorted((run / "data" / "low").iterdir())):
        files.append(tmp_path / "in" / f"{i:02d}.npy")
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_bytes(source.read_bytes()[: 100 if i == 5 else None])
    flags = {"MODEL.PRETRAINED": str(run / "run")}
    opened = load_config(RECIPE, None, flags, ["DATA.NUM_WORKERS", "2"], whole=True)
    table = PredictionFiles(csv=str(tmp_path / "p.csv"))
    run_predict(opened, [str(tmp_path / "in")], table, topk=1, batch_size=batch_size)
    rows = (tmp_path / "p.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [str(file) for file in files if file.stem != "05"]
    said = capsys.readouterr().err
    assert "1 of 12 images could not be used and were skipped" in said
    assert said.rstrip().endswith("05.npy")
    for pair in (["DATA.ON_ERROR", "raise"], ["DATA.MAX_BAD", "0"]):
        opened = load_config(RECIPE, None, flags, pair, whole=True)
        with pytest.raises(DataError, match=r"05\.npy"):
            run_predict(opened, [str(tmp_path / "in")], PredictionFiles(), topk=1, batch_size=batch_size)
