"""What pages and cards say of yardsticks."""

import json

import pytest

from mae_core.report.run_files import read_run
from mae_core.stage.classifier_report import classifier_page
from mae_core.stage.run.model_card import Card, model_card

pytest.importorskip("jinja2", reason="the report extra is not installed")
pytest.importorskip("matplotlib", reason="the report extra is not installed")
CARD = Card("A model", "Use.", "Limits.", "top1", "top-1 {:.2f} %")
KNN = {"knn_top1": 50.0, "knn_whitened_top1": 75.0, "knn_random_init": 40.0, "knn_raw_pixels": 62.5}
CONFIG = """DATA: {DATA_PATH: my pets, TRAIN_LIST: few.txt, VAL_LIST: val_list.txt}
MODEL: {NUM_CLASSES: 4, PRETRAINED: runs/pets, GLOBAL_POOL: true}
"""


def write_run(folder, top1, logistic=None, **more):
    record = {"kind": "validation", "step": 8, "epoch": 1.0, "top1": top1, **more}
    (folder / "log.jsonl").write_text(json.dumps(record) + "\n")
    (folder / "config.yaml").write_text(CONFIG)
    if logistic:
        (folder / "yardsticks.json").write_text(json.dumps({"logistic": logistic, "C": 1.0, "train_images": 40}))
    return folder


def page_of(folder):
    page = classifier_page(str(folder), "Fine-tuning", "mae-finetune", [], lambda: None)
    return page.headline, "".join(str(part) for section in page.sections for part in section.body)


def test_a_page_says_to_take_what_is_better(tmp_path):
    headline, page = page_of(write_run(tmp_path, 40.2, {"features": 65.2, "raw_pixels": 61.0}))
    assert headline == "40.2 % of the images classified correctly, 65.2 % by logistic regression on frozen features"
    assert "logistic, frozen features" in page
    assert "61.00 %" in page
    assert (
        "Logistic regression on frozen features is 25.0 points better with the same 40 labels: take it instead" in page
    )
    assert f"mae-probe logistic -cfg {tmp_path}/config.yaml -pretrained runs/pets MODEL.GLOBAL_POOL True)" in page


def test_a_page_says_so_where_training_was_worth_it(tmp_path):
    headline, page = page_of(write_run(tmp_path, 70.0, {"features": 65.2, "raw_pixels": 66.0}))
    assert headline == "70.0 % of the images classified correctly"
    assert "This run is 4.0 points better than logistic regression on raw pixels with the same 40 labels" in page


def test_a_page_without_yardsticks_says_how_to_ask(tmp_path):
    headline, page = page_of(write_run(tmp_path, 40.2))
    assert headline == "40.2 % of the images classified correctly"
    assert "was not measured" in page
    assert "To ask now: mae-probe logistic -cfg " in page


def test_a_card_has_them_too(tmp_path):
    run = read_run(write_run(tmp_path, 40.2, {"features": 65.2, "raw_pixels": 61.0}))
    text = model_card(run, {}, CARD)
    said = "- beside it, top-1 of logistic regression with the same labels: frozen features 65.20 %, raw pixels 61.00 %"
    assert said in text.splitlines()
    assert "random init" not in text


def test_a_card_has_what_the_monitor_saw_last(tmp_path):
    text = model_card(read_run(write_run(tmp_path, 0.0, **KNN)), {}, CARD)
    assert text.split("held-out top-1 % | mean tokens | whitened |\n| --- | --- | --- |\n")[1].startswith(
        "| this model | 50.00 | 75.00 |\n| random init | 40.00 | - |\n| raw pixels | 62.50 | - |\n"
    )
