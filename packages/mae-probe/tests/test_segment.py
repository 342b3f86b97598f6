"""`mae-probe segment`: its counts against plain NumPy on the same tokens, pictures, and bad input by name."""

import json
import shutil

import numpy as np
import paddle
import pytest
from PIL import Image
from stage_runs import PROBE

import mae_core
from mae_core.stage.config.from_weights import load_config
from mae_data.drawing import draw_sheet, painted, wrong_pixels
from mae_probe.build import build_model
from mae_probe.cli import main
from mae_probe.config import RECIPE
from mae_probe.segmentation.comparison import RANDOM_INIT, RAW_PIXELS

TINY = PROBE.tiny
SIZE, GRID = (16, 24), (4, 6)  # of the weights
SHAPES = ((20, 24), (16, 40), (36, 30))  # of images; no pixel lies half way between two patches, a tie


@pytest.fixture
def pairs(tmp_path):
    """Images whose colour tells the class, of several shapes, with their list lines `image mask`."""
    root, rng = tmp_path / "scenes", np.random.default_rng(0)
    root.mkdir()
    for part, count in (("train", 6), ("val", 4)):
        lines = []
        for number in range(count):
            height, width = SHAPES[number % 3]
            mask = np.kron(rng.integers(0, 3, (2, 2)), np.ones((height, width), int))[::2, ::2].astype(np.uint8)
            picture = np.eye(3)[mask] * 100 + rng.integers(0, 150, (height, width, 3))
            mask[rng.random(mask.shape) < 0.05] = 255
            names = f"{part}{number}.png", f"{part}{number}_mask.png"
            for name, pixels in zip(names, (picture.astype(np.uint8), mask), strict=True):
                Image.fromarray(pixels).save(root / name)
            lines.append(" ".join(names))
        (root / f"{part}_list.txt").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("red #ff0000\ngreen\nblue #0000ff\n")
    return root


@pytest.fixture
def words(pairs, pretrained, tmp_path):
    run = shutil.copytree(pretrained, tmp_path / "run", ignore=shutil.ignore_patterns("features"))
    fitting = [word for word in TINY if word not in ("DATA.IMAGE_SIZE",)]
    del fitting[TINY.index("DATA.IMAGE_SIZE")]
    return [str(word) for word in ("segment", "-pretrained", run, "-data_path", pairs, "-batch_size", 4, *fitting)]


def read(root, part):
    lines = [line.split() for line in (root / f"{part}_list.txt").read_text().splitlines()]
    pictures = [Image.open(root / image).resize(SIZE[::-1], Image.Resampling.BICUBIC) for image, _ in lines]
    return np.stack([np.asarray(p) for p in pictures]), [np.asarray(Image.open(root / mask)) for _, mask in lines]


def shares_of(mask):
    """Nearest pixels at the model's size, then the share of each class in 4x4 patches, as plain loops."""
    found, (height, width) = np.zeros((*GRID, 3)), mask.shape
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            value = mask[int((row + 0.5) * height / SIZE[0]), int((column + 0.5) * width / SIZE[1])]
            if value != 255:
                found[row // 4, column // 4, value] += 1
    return (found / np.maximum(found.sum(axis=2, keepdims=True), 1)).reshape(-1, 3)


def line_weights(inputs, outputs):
    """Linear interpolation between the centres of pixels."""
    place = np.clip((np.arange(outputs) + 0.5) / outputs * inputs - 0.5, 0, inputs - 1)
    return np.array([np.interp(place, np.arange(inputs), row) for row in np.eye(inputs)]).T


def counts_by_hand(train, shares, val, masks, k):
    bank, known = np.concatenate(train).astype(np.float64), np.concatenate(shares)
    bank, known = bank[known.any(axis=1)], known[known.any(axis=1)]
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    counts = np.zeros((3, 3), int)
    for patches, mask in zip(val.astype(np.float64), masks, strict=True):
        cosine = patches @ bank.T / np.linalg.norm(patches, axis=1, keepdims=True)
        voted = []
        for row in cosine:
            best = np.argsort(-row)[:k]
            weight = np.exp((row[best] - row[best].max()) / 0.02)
            voted.append(weight @ known[best] / weight.sum())
        planes = np.array(voted).reshape(*GRID, 3)
        rows, columns = (line_weights(*pair) for pair in zip(GRID, mask.shape, strict=True))
        classes = np.einsum("hr,rck,wc->hwk", rows, planes, columns).argmax(axis=2)
        np.add.at(counts, (mask[mask != 255], classes[mask != 255]), 1)
    return counts


def patches_of(model, images, block):
    pixels = paddle.to_tensor(images)
    tokens = model.forward_intermediates(pixels, [block])[0][:, 1:].numpy()
    rows = (images / 255 - np.array(model.pixel_mean)) / np.array(model.pixel_std)
    cut = rows.reshape(len(images), GRID[0], 4, GRID[1], 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(len(images), 24, -1)
    return {"features": tokens, "raw_pixels": cut}


@pytest.mark.parametrize("block", [0, 1])
def test_counts_are_those_of_plain_numpy(words, pairs, pretrained, capsys, block):
    assert main([*words, "--k", "7", "--block", str(block), "--json", "-"]) == 0
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    model = mae_core.load(str(pretrained))
    model.eval()
    initial = build_model(load_config(RECIPE, None, {"MODEL.PRETRAINED": str(pretrained)}, whole=True).config)
    initial.eval()
    (train, masks), (val, val_masks) = read(pairs, "train"), read(pairs, "val")
    of_train, of_val = (
        {**patches_of(model, images, block), "random_init": patches_of(initial, images, block)["features"]}
        for images in (train, val)
    )
    for name, patches in of_train.items():
        expected = counts_by_hand(patches, [shares_of(mask) for mask in masks], of_val[name], val_masks, 7)
        found = np.array(said[name]["confusion"])
        assert found.sum() == sum((mask != 255).sum() for mask in val_masks)
        assert np.abs(found - expected).sum() <= 4  # of 2,400 pixels: rounding
        union = found.sum(axis=0) + found.sum(axis=1) - np.diag(found)
        iou = 100 * np.diag(found) / union
        assert said[name]["iou"] == pytest.approx(list(iou))
        assert said[name]["miou"] == pytest.approx(iou.mean())
        assert said[name]["pixel_accuracy"] == pytest.approx(100 * np.trace(found) / found.sum())
    assert said["raw_pixels"]["miou"] > 60
    assert said["classes"] == ["red", "green", "blue"]
    rows = [line.split() for line in printed.err.splitlines() if line.startswith("green")]
    assert float(rows[0][1]) == pytest.approx(said["features"]["iou"][1], abs=0.01)


def test_a_linear_layer_learns_colours(words, capsys, tmp_path):
    more = ["--head", "linear", "--epochs", "60", "--lr", "0.02", "-output", str(tmp_path / "new/sheet.png")]
    assert main([*words, *more, "--json", str(tmp_path / "s.json")]) == 0
    said = json.loads((tmp_path / "s.json").read_text())
    assert said["raw_pixels"]["miou"] > 60
    assert said["head"] == "linear"
    again = tmp_path / "again.json"
    assert main([*words, *more[:6], "--json", str(again)]) == 0
    assert json.loads(again.read_text()) == said
    with Image.open(tmp_path / "new/sheet.png") as sheet:
        assert sheet.mode == "RGB"
        assert sheet.height > 4 * SIZE[0]
    printed = capsys.readouterr()
    assert "sheet.png: image, truth, prediction and mistakes" in printed.out
    assert "always track" not in printed.err


def test_random_weights_alone_have_pixels_beside_them(words, pairs, capsys):
    (pairs / "classes.txt").unlink()
    assert main([*words, "--random-init"]) == 0
    out = capsys.readouterr().out
    assert "3 classes, as the training masks have values up to 2" in out
    assert [line.split(":")[0] for line in out.splitlines() if ": mIoU " in line and "knn" not in line] == [
        RANDOM_INIT,
        RAW_PIXELS,
    ]


def spoil(pairs, how):
    mask = np.asarray(Image.open(pairs / "val1_mask.png"))
    if how == "size":
        Image.fromarray(mask[1:]).save(pairs / "val1_mask.png")
    elif how == "value":
        Image.fromarray(np.where(mask == 255, 9, mask).astype(np.uint8)).save(pairs / "val1_mask.png")
    elif how == "missing":
        (pairs / "val1_mask.png").unlink()
    elif how == "line":
        (pairs / "val_list.txt").write_text("val0.png\n")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("size", "val_list.txt:2 (val1_mask.png): the mask has 40x15 pixels, its image val1.png 40x16"),
        ("value", "val_list.txt:2 (val1_mask.png): the mask holds 9"),
        ("missing", "val_list.txt:2 (val1_mask.png): cannot read the file"),
        ("line", "val_list.txt:1: 1 paths, two are needed"),
    ],
)
def test_bad_pairs_are_named_by_line_and_file(how, message, words, pairs, capsys):
    spoil(pairs, how)
    assert main([*words]) == 3
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--k", "0"], "--k 0 is not positive"),
        (["--whiten", "--head", "linear"], "--whiten is for --head knn"),
        (["--ignore", "-1"], "--ignore -1 is no value of a mask"),
        (["--block", "2"], "block 2 is not there; the encoder has 2"),
        (["-output", "sheet.jpg"], "-output sheet.jpg does not end in .png"),
    ],
)
def test_flags_that_cannot_be_are_refused(flags, message, words, capsys):
    assert main([*words, *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_sheet_shows_classes_and_mistakes():
    picture = np.full((2, 3, 1), 100, np.uint8)
    truth, found = np.array([[0, 1, 255], [1, 1, 0]], np.uint8), np.array([[0, 0, 1], [1, 1, 1]], np.uint8)
    colours = np.array([[1, 2, 3], [40, 50, 60]], np.uint8)
    drawn = painted(truth, colours, 255)
    assert drawn[0].tolist() == [[1, 2, 3], [40, 50, 60], [255, 255, 255]]
    red = wrong_pixels(picture, (truth != found) & (truth != 255))
    assert (red == [230, 30, 30]).all(axis=2).tolist() == [[False, True, False], [False, False, True]]
    sheet = np.asarray(draw_sheet([(picture, truth, found)] * 2, ["a", "b"], colours, 255))
    for colour in (*colours, (230, 30, 30)):
        assert (sheet == colour).all(axis=2).any()
