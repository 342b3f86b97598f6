"""Images that are unlike the others: what training skips, verify finds, and a list without them is taken everywhere."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main
from mae_data.errors import DataError
from mae_data.loading.dataset import ListDataset
from mae_data.loading.mask_dataset import MaskDataset
from mae_data.sources.annotated_list import open_targets
from mae_data.transforms.pipelines import make_eval_transform


@pytest.fixture
def photos(image_root):
    """Twenty 8-bit pictures, of which number 4 is a 16-bit grey one now."""
    deep = np.random.default_rng(0).integers(0, 65536, (10, 12), dtype=np.uint16)
    Image.fromarray(deep).save(image_root / "04.png")
    return image_root


def verify(capsys, *words):
    """Return exit code and output."""
    capsys.readouterr()
    code = main(["verify", *map(str, words), "--workers", "1"])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("workers", ["1", "2"])
def test_verify_without_flags_judges_by_what_most_images_hold(photos, capsys, workers):
    assert main(["verify", str(photos), "--write-lists", "--workers", workers]) == 3
    said = capsys.readouterr().out
    assert "bad: " in said
    assert "train_list.txt:5 (04.png): uint16 values" in said
    assert "20 images checked, 1 bad" in said
    usual = "judged by what most of them hold: 3 channels of uint8, 19 of 20 (--channels 3 --value-range 255)"
    assert usual in said
    assert main(["stats", str(photos), "--list", "train_list_clean.txt", "--workers", "1"]) == 0
    assert "skipped           0" in capsys.readouterr().out
    assert verify(capsys, photos, "--list", "train_list_clean.txt")[0] == 0


def test_pictures_among_deeper_images_are_the_strange_ones(tmp_path, save_image, capsys):
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.full((6, 7), 40 * i, np.uint16))
    save_image(tmp_path / "a.png")
    code, said = verify(capsys, tmp_path)
    assert code == 3
    assert re.search(r"a.png\): .*3 channels", said)
    assert "most of them hold: 1 channel of uint16, 3 of 4 (--channels 1 --value-range 65535)" in said


def test_kinds_that_one_range_takes_are_alike(tmp_path, capsys):
    """Floats and numbers with a sign fit one range of floats."""
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.full((6, 7, 2), i, np.float32))
    np.save(tmp_path / "3.npy", np.full((6, 7, 2), -3, np.int16))
    code, said = verify(capsys, tmp_path)
    assert code == 0
    assert "most of them hold: 2 channels of float32, 3 of 4 (--channels 2 --value-range LOW HIGH)" in said


def test_the_command_in_a_message_finds_what_the_message_is_about(photos, capsys):
    """Of 12 bits in 16, one image too bright: verify cannot know of it without the range."""
    for i in range(20):
        image = np.full((6, 7), 4095 + (i == 7), np.uint16)
        np.save(photos / f"{i}.npy", image)
    (photos / "deep list.txt").write_text("".join(f"{i}.npy\n" for i in range(20)))
    dataset = ListDataset(
        photos, "deep list.txt", make_eval_transform(image_size=4), channels=1, value_range=4095, labels="optional",
        advice="mend it", bands=[0], nodata=9,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"finds all such images; mend it$") as refused:
        dataset[7]
    words = shlex.split(re.search("`(.*)`", str(refused.value))[1])
    assert words[0] == "mae-data"
    assert main([*words[1:], "--workers", "1"]) == 3
    said = capsys.readouterr().out
    assert "(7.npy): values from 4096 to 4096 leave the value range 4095" in said
    assert "20 images checked, 1 bad" in said
    assert verify(capsys, photos, "--list", "deep list.txt")[0] == 0


def test_the_command_says_what_stands_beside_images(photos):
    transform = make_eval_transform(image_size=4)

    def command(dataset):
        return dataset.bad.verify.removeprefix(f"mae-data verify {photos} ")

    def rows(root, list_file, **options):
        return open_targets(root, list_file, 2, labels=True, **options)

    (photos / "train_list.txt").write_text("00.png 0,1\n")
    dataset = ListDataset(photos, "train_list.txt", transform, open_targets=rows, value_range=[-1.5, 2])
    assert command(dataset) == "--labels 2 --channels 3 --value-range -1.5 2.0"
    (photos / "train_list.txt").write_text("00.png 01.png\n")
    dataset = MaskDataset(photos, "train_list.txt", transform, classes=3, allow_outside=True)
    assert command(dataset) == "--allow-outside --masks --ignore 255 --channels 3 --value-range 255"
