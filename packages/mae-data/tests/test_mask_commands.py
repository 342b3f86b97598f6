"""`mae-data verify --masks` and `stats --masks`: what is wrong with pairs by line and file, what their masks hold."""

import json

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main

pytestmark = pytest.mark.once


@pytest.fixture
def folder(tmp_path):
    """Twelve pairs in folders, four of them for validation, of three classes; the third is in one mask."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for number in range(count):
            mask = rng.choice([0, 1, 255], (6, 8), p=[0.5, 0.4, 0.1]).astype(np.uint8)
            if (part, number) == ("train", 3):
                mask[:2] = 2
            for kind, pixels in (("images", np.zeros((6, 8, 3), np.uint8)), ("masks", mask)):
                (tmp_path / kind / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / kind / part / f"{number}.png")
    (tmp_path / "classes.txt").write_text("ground #101010\nriver bed #4363d8\ntree\nroof\n")
    return tmp_path


def masks(folder, part):
    return [np.asarray(Image.open(path)) for path in sorted((folder / "masks" / part).iterdir())]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_stats_count_each_class(folder, capsys, workers):
    assert main(["stats", str(folder), "--masks", "--json", "--workers", workers]) == 0
    train, val = json.loads(capsys.readouterr().out)
    for report, part in ((train, "train"), (val, "val")):
        pixels = np.concatenate([mask.ravel() for mask in masks(folder, part)])
        assert report["ignored"] == (pixels == 255).sum()
        for value, found in enumerate(report["classes"]):
            assert found["pixels"] == (pixels == value).sum()
            assert found["images"] == sum((mask == value).any() for mask in masks(folder, part))
            assert found["share"] == pytest.approx(100 * np.mean(pixels[pixels != 255] == value))
    assert [each["name"] for each in train["classes"]] == ["ground", "river bed", "tree", "roof"]
    assert (train["unused"], val["unused"]) == (["roof"], ["tree", "roof"])
    assert main(["stats", str(folder), "--masks"]) == 0
    assert f"{folder}, val: 4 images with masks" in capsys.readouterr().out


def test_without_names_classes_are_counted(folder, capsys):
    (folder / "classes.txt").unlink()
    assert main(["stats", str(folder), "--masks", "--json"]) == 0
    assert [len(report["classes"]) for report in json.loads(capsys.readouterr().out)] == [3, 2]


def test_verify_names_each_bad_pair(folder, capsys):
    lines = [f"images/train/{number}.png masks/train/{number}.png" for number in range(8)]
    (folder / "train_list.txt").write_text("\n".join(["", *lines, "images/val/0.png masks/gone.png"]) + "\n")
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(folder / "masks/train/1.png")
    Image.fromarray(np.full((6, 8), 17, np.uint8)).save(folder / "masks/train/4.png")
    assert main(["verify", str(folder), "--masks", "--list", "train_list.txt", "--json", str(folder / "r.json")]) == 3
    out = capsys.readouterr().out
    list_file = folder / "train_list.txt"
    assert f"bad: {list_file}:3 (masks/train/1.png): the mask has 8x5 pixels, its image images/train/1.png 8x6" in out
    assert f"bad: {list_file}:6 (masks/train/4.png): the mask holds 17, in 48 pixels; classes are 0 to 3" in out
    assert f"bad: {list_file}:10 (masks/gone.png): cannot read the file" in out
    assert "9 images with masks checked, 3 bad\nno mask has roof" in out
    assert len(json.loads((folder / "r.json").read_text())[0]["bad"]) == 3
    assert main(["stats", str(folder), "--masks"]) == 3
    assert "`mae-data verify --masks` finds all such pairs" in capsys.readouterr().err


def test_images_of_12_bits_are_checked_by_their_white(folder, capsys):
    for path in (folder / "images").rglob("*.png"):
        Image.fromarray(np.full((6, 8), 4095, np.uint16)).save(path)
    words = ["verify", str(folder), "--masks", "--channels", "1", "--value-range"]
    assert main([*words, "4095"]) == 0
    assert main([*words, "4000"]) == 3
    assert "leave the value range 4000" in capsys.readouterr().out


def test_good_pairs_are_good_and_other_flags_are_refused(folder, capsys):
    assert main(["verify", str(folder), "--masks"]) == 0
    assert f"{folder}, train: 8 images with masks checked, 0 bad" in capsys.readouterr().out
    for words, flag in ((["verify", "--write-lists"], "--write-lists"), (["stats", "--yaml", "s.yaml"], "--yaml")):
        assert main([words[0], str(folder), "--masks", *words[1:]]) == 2
        assert f"{flag} and --masks exclude each other" in capsys.readouterr().err
