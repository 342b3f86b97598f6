"""A folder without lists, as a new user gives it."""

import os
import time

import numpy as np
import pytest

from mae_data.errors import DataError
from mae_data.loading.dataset import ListDataset
from mae_data.sources.folders import folder as folder_module
from mae_data.sources.folders.folder_scan import describe_left_out, scan_folder
from mae_data.sources.open_source import open_source
from mae_data.transforms.pipelines import make_eval_transform


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAE_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path, save_image):
    """Images at several depths, linked and hidden ones, and things that are none."""
    root = tmp_path / "photos"
    for i, name in enumerate(("b 1.png", "Ä/deep/2.JPG", "Ä/3.webp", "z/4.png", ".hidden/5.png", ".6.png")):
        save_image(root / name, i)
    save_image(tmp_path / "elsewhere" / "7.png", 7)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "linked.png").symlink_to(tmp_path / "elsewhere" / "7.png")
    (root / "broken.png").symlink_to(tmp_path / "gone.png")
    (root / "z" / "up").symlink_to(root)
    (root / "z" / "notes.txt").touch()
    return root


PHOTOS = ["b 1.png", "linked.png", "linked/7.png", "z/4.png", "Ä/3.webp", "Ä/deep/2.JPG"]


def paths(source):
    return [source.path(i) for i in range(len(source))]


def settle(root, seconds=100):
    """Let all folders have changed a while ago: only then their times are trusted."""
    then = time.time() - seconds
    for folder, _, _ in os.walk(root, followlinks=False):
        os.utime(folder, (then, then))


def test_all_images_count_in_pre_training_and_one_line_says_so(photos):
    source = open_source(photos, labels="optional")
    assert paths(source) == PHOTOS
    assert (source.labels == -1).all()
    (note,) = source.notes
    for part in ("photos: no train_list.txt", "6 images", "labels ignored", "left out: 2 hidden images or folders"):
        assert part in note
    for part in ("1 images that are broken links", "1 links to folders that are read already", "1 other files (.txt)"):
        assert part in note
    dataset = ListDataset(photos, "train_list.txt", make_eval_transform(image_size=8), labels="optional")
    assert [int(dataset[i][2]) for i in range(6)] == list(range(6))


def test_evaluation_takes_val_or_says_that_it_takes_all(photos, save_image):
    (note,) = open_source(photos, "val_list.txt", labels="optional").notes
    assert "no val/ folder, so these are the images of training" in note
    for name in ("train/a/1.png", "train/b.png", "val/c/d/2.png"):
        save_image(photos / name)
    train, val = (open_source(photos, f"{part}_list.txt", labels="optional") for part in ("train", "val"))
    assert paths(train) == ["train/a/1.png", "train/b.png"]
    assert paths(val) == ["val/c/d/2.png"]
    assert "6 images beside train/ and val/" in train.notes[0]


def test_class_folders_are_labels_where_those_are_needed(tmp_path, save_image):
    for i in range(20):
        save_image(tmp_path / "pets" / "cat dog"[i % 2 * 4 :][:3] / f"{i}.png", i)
    train, val = (open_source(tmp_path / "pets", f"{part}_list.txt", num_classes=2) for part in ("train", "val"))
    assert (len(train), len(val)) == (18, 2)
    assert train.class_folders() == val.class_folders() == {0: "cat", 1: "dog"}
    assert not set(paths(train)) & set(paths(val))
    assert "18 images, 2 class folders; 2 held out as val" in train.notes[0]
    with pytest.raises(DataError, match="pets: 2 class folders are more than the 1 classes"):
        open_source(tmp_path / "pets", num_classes=1)


def test_what_is_no_data_set_is_named(photos, tmp_path, save_image):
    save_image(tmp_path / "flat" / "1.png")
    with pytest.raises(DataError, match=r"flat has neither lists nor class folders, .* a folder for each class"):
        open_source(tmp_path / "flat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no list, and no images"):
        open_source(tmp_path / "empty", labels="optional")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        open_source(tmp_path / "nowhere", labels="optional")
    with pytest.raises(DataError, match=r"photos/mine\.txt: cannot read the list"):
        open_source(photos, "mine.txt", labels="optional")
    save_image(tmp_path / "one" / "a" / "1.png")
    with pytest.raises(DataError, match="one has no images for the part 'val'"):
        open_source(tmp_path / "one", "val_list.txt")


def test_a_folder_with_one_list_is_no_folder_without(photos):
    (photos / "val_list.txt").write_text("b 1.png\n")
    with pytest.raises(DataError, match=r"train_list\.txt: cannot read the list"):
        open_source(photos, labels="optional")


def test_the_folder_is_scanned_again_only_when_names_change(photos, tmp_path, save_image, monkeypatch):
    scans, index = [], folder_module.index_folder
    monkeypatch.setattr(folder_module, "index_folder", lambda *a, **k: (scans.append(1), index(*a, **k))[1])
    settle(photos)
    settle(tmp_path / "elsewhere")
    first = open_source(photos, labels="optional").fingerprint()
    assert open_source(photos, labels="optional").fingerprint() == first
    assert len(scans) == 1
    save_image(photos / "Ä" / "deep" / "new.png")
    grown = open_source(photos, labels="optional")
    assert "Ä/deep/new.png" in paths(grown)
    assert grown.fingerprint() != first
    settle(photos, 50)
    (tmp_path / "elsewhere" / "7.png").rename(tmp_path / "elsewhere" / "8.png")  # behind a link
    assert "linked/8.png" in paths(open_source(photos, labels="optional"))
    assert len(scans) == 3


def test_a_folder_that_changed_just_before_it_was_read_is_scanned_again(photos, save_image, monkeypatch):
    """A file system's clock ticks slowly: a name that comes within the same tick leaves the folder's time as it was."""
    monkeypatch.setattr(folder_module, "SETTLED_NS", 200 * 10**9)
    settle(photos, 100)
    before = {folder: os.stat(folder) for folder, _, _ in os.walk(photos)}
    assert "z/new.png" not in paths(open_source(photos, labels="optional"))
    save_image(photos / "z" / "new.png")
    for folder, found in before.items():
        os.utime(folder, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert "z/new.png" in paths(open_source(photos, labels="optional"))


def test_names_that_no_list_could_hold_are_read(tmp_path, save_image):
    save_image(tmp_path / "odd" / "1.png")
    os.rename(tmp_path / "odd" / "1.png", os.fsencode(tmp_path / "odd") + b"/\xff\n1.png")
    dataset = ListDataset(tmp_path / "odd", "train_list.txt", make_eval_transform(image_size=8), labels="optional")
    assert dataset[0][0].shape == (8, 8, 3)
    assert dataset.images.path(0) == "\\xff\n1.png"


def test_the_scan_is_sorted_and_links_in_circles_end(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").touch()
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    scan = scan_folder(os.fsencode(tmp_path))
    assert scan.images == [b"a/x.png", b"b/x.png"]
    assert describe_left_out(scan.left_out) == "left out: 2 links to folders that are read already"
    assert describe_left_out({}) == ""
    np.testing.assert_equal(len(scan.folders), 3)
