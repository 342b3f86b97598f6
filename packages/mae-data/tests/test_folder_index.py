import pytest

from mae_data.errors import DataError, InputError
from mae_data.sources.folders.folder_index import index_folder, split_class
from mae_data.sources.image_list import read_list


@pytest.fixture
def class_folders(tmp_path, save_image):
    """Ten images each in `b cat/` and `Ant/`, one of them in a subfolder, and things that are no images."""
    for i in range(10):
        save_image(tmp_path / "b cat" / f"{i}.PNG", i)
        save_image(tmp_path / "Ant" / ("deep" if i == 9 else "") / f"{i}.jpeg", i)
    for name in ("notes/readme.txt", ".hidden/x.png", "Ant/.x.png", "Ant/list.txt", "loose.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def entries(root, name):
    images = read_list(name, root, labels="optional")
    return [(images.path(i), int(images.labels[i])) for i in range(len(images))]


def test_class_folders_are_split_per_class(class_folders):
    index = index_folder(class_folders, val_fraction=0.2, seed=1)
    assert index.left_out == {
        "images that are in no class folder": 1,
        "hidden images or folders": 2,
        "other files (.txt)": 2,
    }
    assert index.write(class_folders) == ["train_list.txt", "val_list.txt", "classes.txt"]
    assert (class_folders / "classes.txt").read_text() == "Ant\nb cat\n"
    train, val = entries(class_folders, "train_list.txt"), entries(class_folders, "val_list.txt")
    everything = {(f"b cat/{i}.PNG", 1) for i in range(10)} | {(f"Ant/{i}.jpeg", 0) for i in range(9)}
    assert sorted(train + val) == sorted(everything | {("Ant/deep/9.jpeg", 0)})
    assert [sum(label == digit for _, label in val) for digit in (0, 1)] == [2, 2]


def test_labels_follow_the_sorted_names_where_one_begins_another(tmp_path, save_image):
    """A sorted list of paths has them otherwise: `cat big/1.png` comes before `cat/1.png`."""
    for name in ("cat", "cat big", "cat-small"):
        save_image(tmp_path / name / "1.png")
        save_image(tmp_path / "parts" / "train" / name / "1.png")
    for root, start in ((tmp_path, ""), (tmp_path / "parts", "train/")):
        index = index_folder(root, val_fraction=0)
        assert index.classes[:3] == [b"cat", b"cat big", b"cat-small"]
        labels = {path: label for path, label in index.train if not path.startswith(b"parts")}
        assert labels == {f"{start}{name.decode()}/1.png".encode(): i for i, name in enumerate(index.classes[:3])}


def test_the_split_depends_on_the_seed_alone(class_folders):
    first = index_folder(class_folders, 0.5, seed=1)
    assert index_folder(class_folders, 0.5, seed=1) == first
    assert index_folder(class_folders, 0.5, seed=2).val != first.val


def test_nothing_is_held_out_on_request(class_folders):
    index = index_folder(class_folders, val_fraction=0)
    assert (len(index.train), index.val) == (20, None)


@pytest.mark.parametrize(("count", "share", "held_out"), [(1, 0.9, 0), (2, 0.9, 1), (10, 0.25, 2), (10, 0, 0)])
def test_a_class_keeps_an_image_for_training(count, share, held_out):
    paths = [b"%d" % i for i in range(count)]
    kept, val = split_class(paths, share, 0, 0)
    assert len(val) == held_out
    assert sorted(kept + val) == paths


def test_train_and_val_are_taken_as_they_are(tmp_path, save_image):
    for name in ("train/b/1.png", "train/a/1.png", "train/a/2.png", "val/b/3.png", "other/c/4.png"):
        save_image(tmp_path / name)
    index_folder(tmp_path, val_fraction=0.9).write(tmp_path)
    assert entries(tmp_path, "train_list.txt") == [("train/a/1.png", 0), ("train/a/2.png", 0), ("train/b/1.png", 1)]
    assert entries(tmp_path, "val_list.txt") == [("val/b/3.png", 1)]


def test_train_alone_gives_no_validation_list(tmp_path, save_image):
    save_image(tmp_path / "train" / "a" / "1.png")
    assert index_folder(tmp_path).write(tmp_path) == ["train_list.txt", "classes.txt"]


@pytest.mark.parametrize("kind", ["empty val", "flat, empty val", "one image per class"])
def test_an_empty_validation_list_is_not_written(tmp_path, save_image, kind):
    """An empty list could not be read back."""
    train = {"empty val": "train/a", "flat, empty val": "train", "one image per class": "a"}[kind]
    save_image(tmp_path / train / "1.png")
    if "val" in kind:
        (tmp_path / "val").mkdir()
    assert "val_list.txt" not in index_folder(tmp_path, val_fraction=0.5).write(tmp_path)


def test_a_class_that_train_lacks_is_named(tmp_path, save_image):
    save_image(tmp_path / "train" / "a" / "1.png")
    save_image(tmp_path / "val" / "dog" / "1.png")
    with pytest.raises(DataError, match="val has classes that train/ has no images of: dog"):
        index_folder(tmp_path)


@pytest.mark.parametrize("below", ["", "train"])
def test_a_flat_folder_gives_a_list_without_labels(tmp_path, save_image, below):
    for name in ("my photo 1.png", "2.jpg"):
        save_image(tmp_path / below / name)
    index = index_folder(tmp_path)
    assert index.write(tmp_path) == ["train_list.txt"]
    prefix = f"{below}/" if below else ""
    assert entries(tmp_path, "train_list.txt") == [(f"{prefix}2.jpg", -1), (f"{prefix}my photo 1.png", -1)]


def test_lists_are_not_overwritten_unasked_and_stale_ones_go(class_folders):
    index_folder(class_folders).write(class_folders)
    with pytest.raises(InputError, match=r"already has train_list\.txt, .*; use --force"):
        index_folder(class_folders).write(class_folders)
    index_folder(class_folders, val_fraction=0).write(class_folders, force=True)
    assert not (class_folders / "val_list.txt").exists()
    assert not list(class_folders.glob(".*list*"))


@pytest.mark.parametrize("name", [b"a\nb.png", b"\xff.png"])
def test_names_that_a_list_cannot_hold_are_refused(tmp_path, name):
    with open(bytes(tmp_path) + b"/" + name, "wb"):
        pass
    with pytest.raises(DataError, match="rename the file"):
        index_folder(tmp_path).write(tmp_path)


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        index_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no list, and no images"):
        index_folder(tmp_path)
    with pytest.raises(InputError, match="--val-fraction 1"):
        index_folder(tmp_path, val_fraction=1)
