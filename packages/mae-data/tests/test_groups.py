"""Images that belong together stay in one part; equal files in two parts are found. Judged by scikit-learn's splits."""

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main
from mae_data.errors import InputError
from mae_data.sources.folders.folder_index import index_folder


def make_slices(root, patients=12, slices=5):
    """Class folders with several slices of each patient; some patients are in both classes."""
    for patient in range(patients):
        for number in range(slices):
            name = ("ill", "well")[(patient + (number > 3 and patient % 4 == 0)) % 2]
            path = root / name / f"P{patient:02d}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), 20 * patient + number, np.uint8)).save(path)
    return root


def groups_of(entries):
    return {path.rpartition(b"/")[2][:3] for path, _ in entries}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_patients_slices_are_in_one_part(tmp_path, seed, share):
    root = make_slices(tmp_path)
    index = index_folder(root, share, seed, group_by=r"(P\d+)_")
    assert not groups_of(index.train) & groups_of(index.val)
    assert len(index.train) + len(index.val) == 60
    assert {label for _, label in index.train} == {0, 1}
    assert abs(len(index.val) / 60 - share) < 0.13
    alone = index_folder(root, share, seed)
    assert groups_of(alone.train) & groups_of(alone.val)  # without it, they are in both


def test_the_parts_pass_for_groups_by_scikit_learn(tmp_path):
    selection = pytest.importorskip("sklearn.model_selection", reason="the outside judge is not installed")
    index = index_folder(make_slices(tmp_path), 0.25, group_by=r"(P\d+)_")
    entries = index.train + index.val
    groups = np.array([path.rpartition(b"/")[2][:3] for path, _ in entries])
    fold = np.r_[np.full(len(index.train), -1), np.zeros(len(index.val), int)]
    (train, val) = next(selection.PredefinedSplit(fold).split())
    mine = set(groups[val])
    logo = selection.LeavePGroupsOut(len(mine)).split(entries, groups=groups)
    assert any(set(groups[test]) == mine and set(train) == set(rest) for rest, test in logo)


def test_by_folder(tmp_path):
    for name in ("cat/home", "cat/street", "dog/home", "dog/park"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (4, 4), i).save(tmp_path / name / f"{i}.png")
    index = index_folder(tmp_path, 0.5, group_by="folder")
    assert len({path.rpartition(b"/")[0] for path, _ in index.val}) == 2
    assert len(index.val) == 8


@pytest.mark.parametrize(("group_by", "message"), [("(", "nor a regular expression"), ("Q", "matches nothing in"),
                                                    ("P", "one group of all")])  # fmt: skip
def test_what_makes_no_groups_is_refused(tmp_path, group_by, message):
    with pytest.raises(InputError, match=message):
        index_folder(make_slices(tmp_path), 0.5, group_by=group_by)


def test_all_images_without_a_group_are_named_at_once(tmp_path):
    root = make_slices(tmp_path)
    for i in range(12):
        (root / "well" / f"other{i:02}.png").write_bytes(b"")
    named = ", ".join(f"well/other{i:02}.png" for i in range(10))
    with pytest.raises(InputError, match=rf"in 12 of 72 images: {named} and 2 more; it must match each path$"):
        index_folder(root, 0.5, group_by=r"(P\d+)_")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "2 of 4 classes have no image to be scored: bee, owl; add images, or raise --val-fraction"),
        (["--val-fraction", "0"], ""),
    ],
)
def test_classes_that_nothing_is_held_out_of_are_named(tmp_path, save_image, capsys, words, said):
    for name, images in {"ant": 6, "bee": 1, "cat": 6, "owl": 4}.items():
        for i in range(images):
            save_image(tmp_path / name / f"{i}.png", i)
    assert main(["index", str(tmp_path), *words]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [said] * bool(said)


def test_classes_that_val_lacks_are_named(tmp_path, save_image, capsys):
    for name in ("train/ant", "train/bee", "val/ant"):
        save_image(tmp_path / name / "1.png")
    assert main(["index", str(tmp_path)]) == 0
    assert "1 of 2 classes have no image to be scored: bee; add some to val/" in capsys.readouterr().out


def test_verify_warns_of_equal_files_across_parts(tmp_path, capsys):
    root = make_slices(tmp_path / "data")
    assert main(["index", str(root), "--val-fraction", "0.25", "--group-by", r"(P\d+)_"]) == 0
    capsys.readouterr()
    assert main(["verify", str(root), "--workers", "1"]) == 0
    assert "warning" not in capsys.readouterr().out
    train, val = ((root / f"{part}_list.txt").read_text().split()[0] for part in ("train", "val"))
    (root / val).write_bytes((root / train).read_bytes())
    assert main(["verify", str(root), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "warning: 1 images of" in said
    assert f"first {val} as " in said
    assert f"({train}): what is scored was trained on" in said
