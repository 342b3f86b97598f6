"""Statistics, crop, range, bands and names that weights state are believed alike: by all stages and from Python."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import mae_core
import mae_data
import mae_finetune
import mae_pretrain
import mae_probe
from mae_core.errors import CheckpointError
from mae_core.stage.config.from_weights import load_config
from mae_core.weights.checkpoint_state import encode_record
from mae_core.weights.convert import convert
from mae_core.weights.sources import read_weights
from mae_data.loading.preprocess import ModelInput
from mae_finetune.config import RECIPE as FINETUNE
from mae_finetune.tasks.classification import Classifier
from mae_pretrain.build import eval_dataset
from mae_pretrain.config import RECIPE as PRETRAIN
from mae_probe.config import RECIPE as PROBE
from mae_probe.extraction.encoding import encode_lists
from mae_probe.extraction.pooling import Part

MEAN, STD = [0.3, 0.4, 0.55], [0.2, 0.25, 0.3]
SMALL = {
    "DATA.IMAGE_SIZE": 16, "DATA.NUM_WORKERS": 0, "DATA.BATCH_SIZE": 6, "DATA.CROP_PCT": 0.6,
    "DATA.IMAGENET_MEAN": MEAN, "DATA.IMAGENET_STD": STD, "DATA.BANDS": [2, 1, 0], "MODEL.PATCH_SIZE": 4,
    "MODEL.ENCODER.EMBED_DIM": 16, "MODEL.ENCODER.DEPTH": 1, "MODEL.ENCODER.NUM_HEADS": 2,
    "TRAIN.NUM_EPOCHS": 1, "TRAIN.WARMUP_EPOCHS": 0,
}  # fmt: skip
DECODER = {"MODEL.DECODER.EMBED_DIM": 16, "MODEL.DECODER.DEPTH": 1, "MODEL.DECODER.NUM_HEADS": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("facts"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / "data" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((40, 30)).save(root / "data" / name / f"{i}.png")
    mae_pretrain.pretrain(root / "data", output=root / "run", settings=SMALL | DECODER)
    convert(read_weights_file(root / "run"), root / "one.safetensors")
    convert(read_weights_file(root / "run"), root / "folder")
    return root


def read_weights_file(run):
    from mae_core.weights.checkpoint_folder import find_weights

    return find_weights(run)


def files_of(home):
    return sorted((home / "data" / "cat").iterdir())


@pytest.mark.parametrize("source", ["run", "one.safetensors", "folder"])
def test_every_stage_and_python_believe_a_source(home, source):
    model = mae_core.load(home / source)
    assert (list(model.pixel_mean), list(model.pixel_std)) == (MEAN, STD)
    assert (model.crop_pct, model.bands) == (0.6, (2, 1, 0))
    for recipe in (PRETRAIN, FINETUNE, PROBE):
        data = load_config(recipe, None, {"MODEL.PRETRAINED": str(home / source)}, say=lambda line: None).config.DATA
        assert (data.IMAGENET_MEAN, data.IMAGENET_STD, data.CROP_PCT, data.BANDS) == (MEAN, STD, 0.6, [2, 1, 0])
        with pytest.raises(CheckpointError, match=r"IMAGENET_MEAN is \[0.3, .*--allow-drift DATA.IMAGENET_MEAN"):
            load_config(recipe, None, {"MODEL.PRETRAINED": str(home / source), "DATA.IMAGENET_MEAN": [0.1] * 3})
    mine, runs = (mae_probe.features(home / name, files_of(home)) for name in (source, "run"))
    np.testing.assert_allclose(mine, runs, rtol=0, atol=1e-5)


def test_python_sees_what_the_command_sees(home):
    flags = {"MODEL.PRETRAINED": str(home / "run"), "DATA.DATA_PATH": str(home / "data"), "DATA.BATCH_SIZE": 4}
    opened = load_config(PROBE, None, flags, whole=True, say=lambda line: None)
    encoded = encode_lists(opened, ["train_list.txt"], "features", "optional")[0][Part("class")]
    assert len(encoded.paths) == 20
    files = [home / "data" / path for path in encoded.paths]
    np.testing.assert_allclose(mae_probe.features(home / "run", files), encoded.features, rtol=0, atol=1e-5)
    dataset = eval_dataset(load_config(PRETRAIN, None, flags, whole=True, say=lambda line: None).config)
    pictures = mae_pretrain.reconstruct(home / "run", [home / "data" / dataset.images.path(0)])
    right = np.asarray(Image.open(home / "data" / dataset.images.path(0)))[:, :, ::-1]
    np.testing.assert_array_equal(pictures.original[0], mae_data.preprocess(right, 16, 0.6)[0])
    np.testing.assert_array_equal(pictures.original[0], dataset[0][0])


def test_the_callers_crop_goes_before_the_models(home):
    model = mae_core.load(home / "run")
    given = ModelInput.of(model)
    assert (given.crop_pct, given.bands, given.size) == (0.6, (2, 1, 0), (16, 16))
    assert ModelInput.of(model, 0.9).crop_pct == 0.9


def test_runs_that_did_not_know_exif_go_on_without_it(home, tmp_path):
    shutil.copytree(home / "run", tmp_path / "old")
    for state in (tmp_path / "old").glob("checkpoints/*/state.json"):
        record = json.loads(state.read_text())
        assert record["config"]["DATA"].pop("EXIF") is True
        state.write_bytes(encode_record(record))
    quiet = {"say": lambda line: None}
    assert load_config(PRETRAIN, None, {"MODEL.RESUME": str(tmp_path / "old")}, **quiet).config.DATA.EXIF is False
    assert load_config(PRETRAIN, None, {"MODEL.RESUME": str(home / "run")}, **quiet).config.DATA.EXIF is True
    for whole in (False, True):  # trained on, and asked
        told = load_config(PRETRAIN, None, {"MODEL.PRETRAINED": str(tmp_path / "old")}, whole=whole, **quiet)
        assert told.config.DATA.EXIF is False


def bare(folder):
    """Take away what our header says."""
    file = folder / "model.safetensors"
    save_file(load_file(file), file, metadata={"format": "pt"})


def test_hugging_face_folders_tell_it_both_ways(home, tmp_path):
    convert(home / "one.safetensors", tmp_path / "hf")
    told = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
    assert (told["image_mean"], told["image_std"], told["size"]) == (MEAN, STD, {"shortest_edge": 26})
    bare(tmp_path / "hf")
    metadata = read_weights(tmp_path / "hf").metadata
    assert (metadata.pixel_mean, metadata.pixel_std, metadata.value_range) == (tuple(MEAN), tuple(STD), 255)
    assert metadata.crop_pct == 16 / 26
    convert(tmp_path / "hf", tmp_path / "back.safetensors")
    assert list(mae_core.load(tmp_path / "back.safetensors").pixel_mean) == MEAN


@pytest.mark.parametrize(
    ("text", "remark"),
    [("[1", "not readable"), ("[]", "not readable"), ('{"rescale_factor": 0}', "not readable"),
     ('{"image_mean": [0.5], "image_std": [0]}', "no mean"), ('{"do_normalize": false}', "no mean")],
)  # fmt: skip
def test_what_a_preprocessor_does_not_say_is_remarked(home, tmp_path, text, remark):
    convert(home / "one.safetensors", tmp_path / "hf")
    bare(tmp_path / "hf")
    (tmp_path / "hf" / "preprocessor_config.json").write_text(text)
    weights = read_weights(tmp_path / "hf")
    assert weights.metadata.pixel_mean is None
    assert any(remark in said for said in weights.remarks)


def test_the_written_preprocessor_prepares_as_evaluation_does(home, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the outside implementation is not installed")
    convert(home / "one.safetensors", tmp_path / "hf")
    processor = transformers.BitImageProcessor.from_pretrained(tmp_path / "hf")
    photo = Image.open(files_of(home)[0])
    theirs = np.asarray(processor(photo, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
    ours = mae_data.preprocess(photo, 16, 0.6)[0] / 255
    np.testing.assert_allclose(theirs, (ours - MEAN) / STD, atol=1.5 / 255 / min(STD))


def test_names_of_classes_go_through_every_source(home, tmp_path):
    settings = {**SMALL, "MODEL.GLOBAL_POOL": False}
    mae_finetune.finetune(home / "data", output=home / "tuned", settings=settings)
    convert(read_weights_file(home / "tuned"), tmp_path / "hf")
    convert(read_weights_file(home / "tuned"), tmp_path / "one.safetensors")
    bare(tmp_path / "hf")
    for source in (home / "tuned", tmp_path / "one.safetensors", tmp_path / "hf"):
        flags = {"MODEL.PRETRAINED": str(source), "MODEL.GLOBAL_POOL": False, "MODEL.ENCODER.NUM_HEADS": 2}
        classifier = Classifier(load_config(FINETUNE, None, flags, whole=True, say=lambda line: None))
        assert classifier.names == ["cat", "dog"]
        said = list(classifier.predict(files_of(home)[:2]))
        if source == home / "tuned":
            runs = said
        if source.name != "hf":  # bands are in our header alone
            for mine, other in zip(said, runs, strict=True):
                assert mine.guesses[0].probability == pytest.approx(other.guesses[0].probability, abs=1e-6)
