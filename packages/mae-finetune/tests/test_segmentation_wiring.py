"""The keys of segmentation reach what they are for."""

import numpy as np
import pytest
from PIL import Image
from stage_runs import FINETUNE

from mae_core.training.optim import Ema
from mae_finetune.config import RECIPE
from mae_finetune.segmentation.heads import LightHead, PyramidHead
from mae_finetune.tasks import task_of

OFF = "MODEL.TASK segment TRAIN.MIXUP_PROB 0.0 TRAIN.SMOOTHING 0.0 TRAIN.RAND_AUGMENT False TRAIN.RANDOM_ERASE_PROB 0.0"


@pytest.fixture
def config(tmp_path):
    """Return the config of KEY VALUE words, over one image whose mask is all of class 1."""
    for kind, shape in (("images", (20, 20, 3)), ("masks", (20, 20))):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / kind / "a.png")

    def load(*words):
        return RECIPE.load(pairs=[*FINETUNE.tiny, *OFF.split(), "DATA.DATA_PATH", str(tmp_path), *words])

    return load


@pytest.mark.parametrize(
    ("words", "kind", "channels"),
    [
        ([], PyramidHead, 512),
        (["MODEL.HEAD", "light"], LightHead, 256),
        (["MODEL.HEAD", "light", "MODEL.HEAD_CHANNELS", "24"], LightHead, 24),
        (["MODEL.HEAD_CHANNELS", "24"], PyramidHead, 24),
    ],
)
def test_the_head_is_built_as_stated(config, words, kind, channels):
    c = config(*words)
    head = task_of(c).build(c).head
    assert isinstance(head, kind)
    assert (head.upernet if kind is PyramidHead else head).classifier.weight.shape[1] == channels


def test_the_data_are_read_as_stated(config):
    c = config("DATA.IGNORE", "7", "DATA.SCALE_JITTER", "[0.9, 1.1]", "DATA.VFLIP", "0.3", "DATA.ROTATE90", "True")
    images = task_of(c).train_dataset(c)
    assert (images.ignore, images.classes) == (7, 3)
    assert images.transform.scale == (0.9, 1.1)
    assert (images.transform.vflip, images.transform.rotate90) == (0.3, True)


def test_ignored_pixels_are_those_of_the_key(config):
    c = config("DATA.IGNORE", "1")
    task = task_of(c)
    images, model = task.train_dataset(c), task.build(c)
    assert set(images[0][1].ravel().tolist()) == {1}
    assert images.target_type.dtype == "uint8"
    assert Ema(model, 0.9).arrays().keys() == model.state_dict().keys()  # statistics of batch norms, too
