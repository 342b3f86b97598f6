"""Class folders without lists: as many outputs as folders, with their names."""

import numpy as np
import pytest
from PIL import Image

from mae_core.errors import ConfigError
from mae_core.stage.config.from_weights import load_config
from mae_finetune.build import train_dataset
from mae_finetune.class_names import training_names
from mae_finetune.config import RECIPE


def make_folders(root, names):
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((8, 8, 3), 40 * number + i, np.uint8)).save(root / name / f"{i}.png")
    return root


def load(root, *pairs):
    said = []
    opened = load_config(RECIPE, None, {"DATA.DATA_PATH": str(root)}, pairs, say=said.append)
    return opened.config, said


@pytest.mark.parametrize("below", ["", "train"])
def test_as_many_outputs_as_folders_with_their_names(tmp_path, below):
    root = tmp_path / "pets"
    make_folders(root / below, ["owl", "cat", "dog"])
    config, said = load(root)
    assert config.MODEL.NUM_CLASSES == 3
    assert said == [f"from the classes of {root}: MODEL.NUM_CLASSES 3"]
    assert training_names(config, train_dataset(config).images) == ["cat", "dog", "owl"]
    assert load(root, "MODEL.NUM_CLASSES", "5")[0].MODEL.NUM_CLASSES == 5


def test_lists_speak_before_folders_and_names_before_all(tmp_path):
    root = make_folders(tmp_path / "pets", ["cat", "dog", "owl"])
    (root / "train_list.txt").write_text("cat/0.png 7\ndog/0.png 8\n")
    assert load(root)[0].MODEL.NUM_CLASSES == 1000  # numbers of a list say nothing of what is not in it
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    assert load(root)[0].MODEL.NUM_CLASSES == 4


def test_no_folder_no_count(tmp_path):
    assert load(tmp_path / "nowhere")[0].MODEL.NUM_CLASSES == 1000


@pytest.mark.parametrize("one", ["MODEL.NUM_CLASSES 1", "folder"])
def test_one_class_is_refused(tmp_path, one):
    root = make_folders(tmp_path / "pets", ["cat"])
    with pytest.raises(ConfigError, match=r"MODEL.NUM_CLASSES=1 leaves nothing to tell apart.* use 2 or more"):
        load(root, *([] if one == "folder" else one.split()))
