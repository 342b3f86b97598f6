"""Segmentation from the outside: training, resuming, scoring, ranks, masks in files, export, page."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from stage_runs import FINETUNE, assert_refused, records, scores, weights

from mae_core.errors import UserError
from mae_core.stage.config.from_weights import load_config
from mae_data.images import geotiff
from mae_finetune.config import RECIPE
from mae_finetune.prediction.command import PredictionFiles
from mae_finetune.segmentation.prediction import MaskFiles, MaskPredictor

PLAIN = {
    "MODEL.TASK": "segment", "MODEL.HEAD_CHANNELS": 8, "TRAIN.MIXUP_PROB": 0.0, "TRAIN.SMOOTHING": 0.0,
    "TRAIN.RAND_AUGMENT": False, "TRAIN.RANDOM_ERASE_PROB": 0.0, "TRAIN.BASE_LR": 0.1, "MODEL.DROPPATH": 0.0,
}  # fmt: skip
TINY = [*FINETUNE.tiny, *(str(word) for pair in PLAIN.items() for word in pair)]
NAMES = ["red", "green", "blue"]


def write_pair(root, part, number, size, rng):
    mask = np.kron(rng.integers(0, 3, (4, 4)), np.ones((size[0] // 4 + 1, size[1] // 4 + 1), int))
    mask = mask[: size[0], : size[1]].astype(np.uint8)
    pixels = rng.integers(0, 100, (*size, 3), dtype=np.uint8)
    for c in range(3):
        pixels[..., c] += np.where(mask == c, 140, 0).astype(np.uint8)
    mask[:2] = 255
    for kind, array in (("images", pixels), ("masks", mask)):
        path = root / kind / part / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """12 images to train and 7 of other sizes to score, with masks of three classes."""
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for number in range(12):
        write_pair(root, "train", number, (24, 30), rng)
    for number, size in enumerate([(16, 16), (40, 21), (9, 30), (17, 16), (5, 7), (16, 50), (33, 33)]):
        write_pair(root, "val", number, size, rng)
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return root


@pytest.fixture(scope="module", params=["light", "upernet"])
def finished(request, pairs, pretrained, tmp_path_factory):
    """A run of three epochs, scored."""
    run = tmp_path_factory.mktemp(request.param) / "run"
    args = ["-batch_size", 4, "-data_path", pairs, "-pretrained", pretrained, "-output", run, *TINY]
    result = FINETUNE.start(*args, "MODEL.HEAD", request.param)
    assert result.returncode == 0, result.stderr
    assert "always track" not in result.stderr
    scored = FINETUNE.start("-eval", "-pretrained", run, "-output", run)
    assert scored.returncode == 0, scored.stderr
    return run, result.stdout, scored.stdout


def iou_of(found, truth):
    """Compute the IoU of three classes over all pixels, in percent, in plain NumPy."""
    inter, union = np.zeros(3), np.zeros(3)
    for said, true in zip(found, truth, strict=True):
        kept = true != 255
        for c in range(3):
            a, b = (said == c) & kept, (true == c) & kept
            inter[c], union[c] = inter[c] + (a & b).sum(), union[c] + (a | b).sum()
    return 100 * inter / union


def masks_of(root):
    return [np.asarray(Image.open(path)) for path in sorted(root.glob("*.png"))]


def test_it_starts_from_pretraining_and_the_best_is_by_miou(finished):
    run, out, scored = finished
    assert "pos_embed resized from 4x6 to 4x4 patches" in out
    assert "initial values kept: head." in out
    validations = [r for r in records(run) if "miou" in r]
    assert [r["step"] for r in validations] == [3, 6, 9]
    best = max(validations, key=lambda r: r["miou"])["step"]
    assert (run / "best").resolve().name == f"step_{best:08d}"
    assert "7 images: mIoU" in scored
    assert "IoU: red " in scored
    assert "mIoU" in (run / "MODEL_CARD.md").read_text()


def test_scores_are_those_of_the_masks_that_it_writes(finished, pairs, tmp_path):
    run, _, _ = finished
    result = FINETUNE.start("predict", "-pretrained", run, "--masks", tmp_path / "m", "--probabilities",
                            "--json", tmp_path / "p.json", pairs / "images" / "val")  # fmt: skip
    assert result.returncode == 0, result.stderr
    found, truth = masks_of(tmp_path / "m"), masks_of(pairs / "masks" / "val")
    assert [mask.shape for mask in found] == [mask.shape for mask in truth]
    iou = iou_of(found, truth)
    table = json.loads((run / "eval" / "scores.json").read_text())
    assert table["iou"] == pytest.approx(dict(zip(NAMES, iou, strict=True)))
    assert table["miou"] == pytest.approx(iou.mean())
    assert table["pixel_accuracy"] == pytest.approx(
        100 * sum(((f == t) & (t != 255)).sum() for f, t in zip(found, truth, strict=True))
        / sum((t != 255).sum() for t in truth)
    )  # fmt: skip
    rows = list(csv.DictReader((run / "eval" / "per_class.csv").open()))
    assert [float(row["iou"]) for row in rows] == pytest.approx(iou, abs=1e-4)
    probabilities = np.load(tmp_path / "m" / "1.npy")
    assert (probabilities.dtype, probabilities.shape) == (np.float16, (3, 40, 21))
    np.testing.assert_allclose(probabilities.astype(np.float32).sum(axis=0), 1, atol=2e-3)
    said = json.loads((tmp_path / "p.json").read_text())["predictions"][1]
    shares = {share["name"]: share["share"] for share in said["shares"]}
    assert shares == pytest.approx({n: (found[1] == c).mean() for c, n in enumerate(NAMES) if (found[1] == c).any()})
    assert Image.open(tmp_path / "m" / "1.png").mode == "P"


def test_resumed_equals_uninterrupted(finished, pairs, tmp_path):
    run, _, _ = finished
    again = tmp_path / "run"
    shutil.copytree(run, again, symlinks=True)
    shutil.rmtree(again / "checkpoints" / "step_00000009")
    result = FINETUNE.start("-cfg", again / "config.yaml", "-resume", again, "-output", again)
    assert result.returncode == 0, result.stderr
    assert "at step 6" in result.stdout
    (_, first), (_, second) = weights(run), weights(again)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_two_ranks_count_each_pixel_once(finished, pairs, tmp_path):
    run, _, _ = finished
    FINETUNE.launch("-eval", "-pretrained", run, "-output", tmp_path / "two")
    one, two = ((folder / "eval" / "confusion.csv").read_text() for folder in (run, tmp_path / "two"))
    assert one == two
    assert scores(tmp_path / "two")["images"] == 7


def test_two_ranks_have_one_batch_norm(pairs, tmp_path):
    log = FINETUNE.launch("-batch_size", 2, "-data_path", pairs, "-output", tmp_path / "run", *TINY)
    validations = [r for r in records(tmp_path / "run") if "miou" in r]
    FINETUNE.start("-eval", "-pretrained", tmp_path / "run", "-output", tmp_path / "run")
    assert scores(tmp_path / "run")["miou"] == pytest.approx(validations[-1]["miou"], rel=1e-12), log


@pytest.mark.parametrize("file_format", ["onnx", "paddle"])
def test_an_exported_model_is_scored_from_outside(finished, pairs, tmp_path, file_format):
    run, _, _ = finished
    if file_format == "onnx":
        pytest.importorskip("paddle2onnx")
    result = FINETUNE.start("export", "-pretrained", run, "-output", tmp_path / "e", "--format", file_format)
    assert result.returncode == 0, result.stderr
    described = json.loads((tmp_path / "e" / "export.json").read_text())
    assert described["class_names"] == NAMES
    assert described["outputs"][0]["shape"] == ["N", 3, 16, 16]
    assert described["prepare"] == {"window": [16, 16], "overlap": 5, "interpolation": "bicubic"}
    image = np.asarray(Image.open(pairs / "images" / "val" / "0.png"))[None]
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(tmp_path / "e" / "model.onnx", providers=["CPUExecutionProvider"])
        logits = session.run(None, {"images": image})[0]
    else:
        from mae_core.export.program import ProgramRunner

        logits = ProgramRunner(tmp_path / "e").run([image])[0]
    FINETUNE.start("predict", "-pretrained", run, "--masks", tmp_path / "m", pairs / "images" / "val" / "0.png")
    assert np.array_equal(logits[0].argmax(axis=0), np.asarray(Image.open(tmp_path / "m" / "0.png")))


def test_the_page_shows_classes_and_pictures(finished):
    run, _, _ = finished
    result = FINETUNE.start("report", run)
    assert result.returncode == 0, result.stderr
    page = (run / "report.html").read_text()
    assert f"mIoU {scores(run)['miou']:.1f} %" in page
    assert all(name in page for name in NAMES)
    assert "Rows of an image, its mask, the prediction and the mistakes" in page


def test_a_map_lies_where_its_scene_lies(finished, pairs, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    run, _, _ = finished
    pixels = np.asarray(Image.open(pairs / "images" / "val" / "6.png"))
    transform = rasterio.transform.from_origin(500_000, 6_000_000, 10, 10)
    shape = {"width": 33, "height": 33, "count": 3, "dtype": "uint8", "crs": "EPSG:32633", "transform": transform}
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", **shape) as file:
        file.write(pixels.transpose(2, 0, 1))
    masks = tmp_path / "m"
    for image in (tmp_path / "scene.tif", pairs / "images" / "val" / "6.png"):
        assert FINETUNE.start("predict", "-pretrained", run, "--masks", masks, image).returncode == 0
    with rasterio.open(masks / "scene.tif") as file:
        assert (file.crs.to_epsg(), file.transform) == (32633, transform)
        assert np.array_equal(file.read(1), np.asarray(Image.open(masks / "6.png")))
        assert len(file.colormap(1)) == 256


def test_nothing_is_written_over_the_images(tmp_path):
    masks, maps = PredictionFiles(masks=str(tmp_path)), PredictionFiles(maps=str(tmp_path))
    with pytest.raises(UserError, match=r"--masks .* would write over .*6\.png; choose another with --masks"):
        masks.check("segment", [f"{tmp_path}/sub/../6.png"])
    with pytest.raises(UserError, match=r"--map .* would write over .*a\.tif; choose another with --map"):
        maps.check("classify", [str(tmp_path / "a.tif")])
    masks.check("segment", [str(tmp_path / "photo.jpg")])
    masks.check("segment", [str(tmp_path / "elsewhere" / "6.png")])
    maps.check("classify", [str(tmp_path / "6.png")])


def test_what_holds_no_data_has_no_class(finished, pairs, tmp_path, monkeypatch):
    rasterio = pytest.importorskip("rasterio")
    run, _, _ = finished
    pixels = np.array(Image.open(pairs / "images" / "val" / "6.png"))
    pixels[pixels == 0] = 1
    pixels[20:, :9] = 0
    pixels[3, 4, 0] = 0  # of two bands there is data
    shape = {"width": 33, "height": 33, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    transform = rasterio.transform.from_origin(500_000, 6_000_000, 10, 10)
    scene = tmp_path / "scene.tif"
    with rasterio.open(scene, "w", driver="GTiff", nodata=0, transform=transform, **shape) as file:
        file.write(pixels.transpose(2, 0, 1))
    empty = np.zeros((33, 33), bool)
    empty[20:, :9] = True
    opened = load_config(RECIPE, None, {"MODEL.PRETRAINED": str(run)}, ["DATA.NODATA", "file"], whole=True)
    predictor = MaskPredictor(opened)
    files = MaskFiles(tmp_path / "m", probabilities=True)
    (said,) = predictor.predict([str(scene)], files=files)
    with rasterio.open(tmp_path / "m/scene.tif") as file:
        found = file.read(1)
        assert (file.nodata, np.array_equal(file.read_masks(1) == 0, empty)) == (255, True)
    assert np.array_equal(found == 255, empty)
    monkeypatch.setattr(geotiff, "LEAST", 100)  # by windows
    list(predictor.predict([str(scene)], files=MaskFiles(tmp_path / "by_windows")))
    with rasterio.open(tmp_path / "by_windows/scene.tif") as file:
        assert np.array_equal(file.read(1) == 255, empty)
    shares = np.bincount(found[~empty], minlength=3) / (~empty).sum()
    assert {share.label: share.share for share in said.shares} == pytest.approx(dict(enumerate(shares)))
    assert np.array_equal(np.isnan(np.load(tmp_path / "m/scene.npy")), np.stack([empty] * 3))
    opened.config.defrost()
    opened.config.DATA.NODATA = 0
    whole, part = MaskPredictor(opened).predict([np.zeros((20, 20, 3), np.uint8), pixels])
    assert whole.line().endswith(": no data")
    assert part.shares == said.shares
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    list(MaskPredictor(opened).predict([str(tmp_path / "picture.png")], files=files))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "m/picture.png")), found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["TRAIN.MIXUP_PROB", "1.0"], "MODEL.TASK=segment takes no TRAIN.MIXUP_PROB"),
        (["TRAIN.RAND_AUGMENT", "True"], "takes no TRAIN.RAND_AUGMENT"),
        (["TRAIN.BEST_BY", "top1"], "TRAIN.BEST_BY='top1' is not one of 'miou'"),
        (["MODEL.NUM_CLASSES", 1000], "MODEL.NUM_CLASSES=1000 is the default: name the classes of the masks"),
        (["MODEL.HEAD", "unet"], "MODEL.HEAD='unet' is not one of"),
        (["DATA.SCALE_JITTER", "[2.0, 0.5]"], "is not a range above 0"),
    ],
)
def test_what_does_not_fit_masks_is_refused(pairs, tmp_path, words, said):
    result = FINETUNE.start("-data_path", pairs, "-output", tmp_path / "run", *TINY, *words)
    assert_refused(result, 2, [said])


def test_a_bad_mask_is_named_with_its_place(pairs, tmp_path):
    root = tmp_path / "pairs"
    shutil.copytree(pairs, root)
    Image.fromarray(np.full((24, 30), 9, np.uint8)).save(root / "masks" / "train" / "3.png")
    args = ["-data_path", root, "-output", tmp_path / "run", *TINY, "-batch_size", 4]
    refused = FINETUNE.start(*args, "DATA.ON_ERROR", "raise")
    assert refused.returncode == 3
    assert "masks/train/3.png" in refused.stderr
    assert "the mask holds 9, in 720 pixels; classes are 0 to 2, and 255 is ignored" in refused.stderr
    args[args.index("-output") + 1] = tmp_path / "other"
    skipped = FINETUNE.start(*args)
    assert skipped.returncode == 0, skipped.stderr
    assert "1 of 12 images could not be used and were skipped" in skipped.stdout + skipped.stderr


def test_masks_are_for_segmentation_alone(finished, pairs, tmp_path):
    run, _, _ = finished
    image = pairs / "images" / "val" / "0.png"
    assert_refused(FINETUNE.start("predict", "-pretrained", run, "--probabilities", image), 2, ["add --masks FOLDER"])
    words = ["--map", tmp_path / "m", "--windows", 2]
    assert_refused(FINETUNE.start("predict", "-pretrained", run, *words, image), 2, ["--masks FOLDER writes"])
