"""Data sets of lists: samples as functions of (seed, epoch, index); bad images are passed over, counted and named."""

import io
import logging
import pickle

import numpy as np
import pytest
from PIL import Image

from mae_data.cli import main
from mae_data.errors import DataError
from mae_data.loading.bad_images import BadImages
from mae_data.loading.dataset import ListDataset
from mae_data.loading.image_windows import ImagePaths
from mae_data.loading.preprocess import ModelInput
from mae_data.loading.worker_pool import WorkerPool
from mae_data.rng import sample_rng
from mae_data.transforms.pipelines import make_eval_transform, make_pretrain_transform

TRANSFORM = make_pretrain_transform(image_size=8)


def open_dataset(root, **options):
    return ListDataset(root, "train_list.txt", TRANSFORM, **options)


def damage(root, *numbers):
    for number in numbers:
        (root / f"{number:02d}.png").write_bytes(b"no image")


@pytest.mark.parametrize("channels", [1, 3])
def test_sample_is_image_label_index(image_root, channels):
    dataset = open_dataset(image_root, channels=channels, seed=4)
    image, label, index = dataset[(2, 7)]
    source = Image.open(image_root / "07.png").convert("L" if channels == 1 else "RGB")
    np.testing.assert_array_equal(image, TRANSFORM(source, sample_rng(4, 2, 7)))
    assert (image.shape, image.dtype) == ((8, 8, channels), np.uint8)
    assert (label, label.dtype, index, index.dtype) == (7 % 3, np.int64, 7, np.int64)
    assert len(dataset) == 20


def test_plain_index_means_epoch_0(image_root):
    dataset = open_dataset(image_root)
    np.testing.assert_array_equal(dataset[3][0], dataset[(0, 3)][0])
    np.testing.assert_array_equal(dataset[np.int64(3)][0], dataset[(0, 3)][0])
    for wrong in (-1, 20):
        with pytest.raises(IndexError):
            dataset[wrong]


def test_augmentation_is_a_function_of_seed_epoch_and_index(image_root):
    first, second = open_dataset(image_root, seed=1), open_dataset(image_root, seed=1)
    forward = [first[(1, i)][0] for i in range(20)]
    backward = [second[(1, i)][0] for i in reversed(range(20))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert not np.array_equal(forward[0], first[(2, 0)][0])
    assert not np.array_equal(forward[0], open_dataset(image_root, seed=2)[(1, 0)][0])


def test_sample_streams_do_not_overlap():
    keys = [(s, e, i) for s in (0, 1, 2**64 - 1) for e in (0, 1, 300) for i in (0, 1, 2**40)]
    drawn = np.array([sample_rng(*key).bit_generator.random_raw(64) for key in keys])
    assert len(np.unique(drawn)) == drawn.size
    np.testing.assert_array_equal(drawn[3], sample_rng(*keys[3]).bit_generator.random_raw(64))


def test_the_stream_stays_what_it_is():
    # Philox4x64-10 of counter (1, 0, 3, 11) and key (7, 1), computed apart from NumPy with Python
    # integers. A change here would break resuming the runs of earlier releases.
    words = sample_rng(7, 3, 11).bit_generator.random_raw(3)
    assert words.tolist() == [880834102394872181, 11205261547104271197, 9264837059325802684]


def test_dataset_is_picklable(image_root):
    dataset = open_dataset(image_root)
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[(1, 5)][0], dataset[(1, 5)][0])


def test_num_classes_is_checked(image_root):
    assert len(open_dataset(image_root, num_classes=3)) == 20
    with pytest.raises(DataError, match="label 2 is too large"):
        open_dataset(image_root, num_classes=2)


def test_a_transform_that_refuses_is_named_too(tmp_path):
    Image.new("L", (200_000, 1)).save(tmp_path / "long.png")
    (tmp_path / "l.txt").write_text("long.png 0\n")
    dataset = ListDataset(tmp_path, "l.txt", make_eval_transform(image_size=64))
    with pytest.raises(DataError, match=r"l\.txt:1 \(long\.png\): .*elongated"):
        dataset[0]


def test_skip_takes_the_next_readable_image(image_root, caplog):
    damage(image_root, 4, 5, 19)
    dataset = open_dataset(image_root, on_error="skip", seed=9)
    with caplog.at_level(logging.WARNING, "mae_data"):
        image, label, index = dataset[(1, 4)]
        assert dataset[(0, 19)][2] == 0  # past the end the list starts anew
        dataset[(2, 4)]
    assert (label, index) == (6 % 3, 6)
    wanted = TRANSFORM(Image.open(image_root / "06.png").convert("RGB"), sample_rng(9, 1, 4))
    np.testing.assert_array_equal(image, wanted)
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 3  # once for each image
    for line, name in ((5, "04"), (6, "05"), (20, "19")):
        assert sum(f"train_list.txt:{line} ({name}.png)" in message for message in logged) == 1


def test_paths_out_of_the_root_are_refused_unless_opted_in(image_root, tmp_path):
    (image_root / "train_list.txt").write_text(f"../images/01.png 1\n{image_root}/02.png 0\n")
    with pytest.raises(DataError, match=r"2 bad lines(.|\n)*opt in with the key"):
        open_dataset(image_root, opt_in="the key")
    assert open_dataset(image_root, allow_outside=True)[0][1] == 1


def test_advice_ends_the_message_about_a_bad_image(image_root):
    damage(image_root, 5)
    with pytest.raises(DataError, match=r"train_list\.txt:6 \(05\.png\): .*; send it back$"):
        open_dataset(image_root, advice="send it back")[5]


@pytest.mark.parametrize("options", [{"on_error": "ignore"}, {"seed": -1}, {"labels": "maybe"}])
def test_wrong_arguments_are_named(image_root, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        open_dataset(image_root, **options)


def batches(dataset, keys):
    with WorkerPool(dataset, 2, 2, 30.0, "", lambda: False) as pool:
        yield from pool.batches(keys, lambda *arrays: tuple(array.copy() for array in arrays))


@pytest.mark.parametrize("on_error", ["skip", "drop"])
def test_workers_count_together_and_the_end_names_all(image_root, on_error):
    damage(image_root, 3, 8, 17)
    dataset = open_dataset(image_root, on_error=on_error)
    keys = [[(0, i) for i in range(first, first + 4)] for first in range(0, 20, 4)]
    indices = np.concatenate([batch[2] for batch in batches(dataset, keys)])
    assert dataset.bad.indices() == [3, 8, 17]
    lines = dataset.skipped()
    assert lines[0].startswith(f"3 of 20 images could not be used and were skipped; `mae-data verify {image_root} ")
    assert [line.rpartition("(")[2] for line in lines[1:]] == ["03.png)", "08.png)", "17.png)"]
    if on_error == "drop":
        assert indices.tolist() == [~i if i in (3, 8, 17) else i for i in range(20)]
    else:
        assert indices.tolist() == [{3: 4, 8: 9, 17: 18}.get(i, i) for i in range(20)]


def test_too_many_over_all_workers_end_it(image_root):
    damage(image_root, *range(0, 12, 3))
    dataset = open_dataset(image_root, on_error="skip", max_skipped=3)
    keys = [[(0, i) for i in range(first, first + 4)] for first in range(0, 20, 4)]
    with pytest.raises(DataError, match=r"3 images were skipped before it, of 20; at most 3 .*MAX_BAD.*verify"):
        list(batches(dataset, keys))


def test_the_first_message_names_verify_and_later_ones_are_few(caplog):
    bad = BadImages(1000, 100)
    with caplog.at_level(logging.WARNING, "mae_data"):
        for i in range(60):
            bad.add(i, DataError(f"file {i}"))
            bad.add(i, DataError("again"))
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "skipped: file 0; `mae-data verify` lists all such images, ON_ERROR raise ends at the first"
    assert len(said) == 20
    lines = list(bad.lines(str))
    assert (lines[0][:10], len(lines), lines[-1]) == ("60 of 1000", 22, "  ... and 40 more")
    assert list(BadImages(5).lines(str)) == []


@pytest.mark.parametrize(("total", "most", "limit"), [(1, 100, 0), (3, 100, 1), (1000, 100, 100), (1000, 0, 0)])
def test_half_of_a_list_is_too_many_in_any_case(total, most, limit):
    bad = BadImages(total, most)
    for i in range(limit):
        bad.add(i, DataError("x"))
    with pytest.raises(DataError, match=f"{limit} images were skipped before it"):
        bad.add(limit, DataError("x"))


def test_paths_without_a_list_can_be_left_out_too(image_root):
    damage(image_root, 1)
    paths = [image_root / "00.png", image_root / "01.png"]
    dataset = ImagePaths(paths, ModelInput(8), drops=True)
    pixels, label, index = dataset[(0, 1)]
    assert (pixels.shape, pixels.any(), label, index) == ((8, 8, 3), False, -1, ~1)
    with pytest.raises(DataError, match=r"01\.png"):
        ImagePaths(paths, ModelInput(8))[(0, 1)]


def test_verify_leaves_clean_lists(image_root, capsys):
    damage(image_root, 4, 9)
    assert main(["verify", str(image_root), "--write-lists", "--workers", "1"]) == 3
    out = capsys.readouterr().out
    clean = image_root / "train_list_clean.txt"
    assert f"{clean}: 18 images, the bad ones left out" in out
    assert clean.read_text() == "".join(f"{i:02d}.png {i % 3}\n" for i in range(20) if i not in (4, 9))
    (image_root / "train_list.txt").unlink()
    clean.unlink()
    assert main(["verify", str(image_root), "--write-lists", "--workers", "1"]) == 2
    assert "`mae-data index ROOT` writes them" in capsys.readouterr().err


def test_verify_counts_the_rows_of_both_parts(tmp_path, capsys):
    arrow = pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    for name, rows in (("train", 30), ("validation", 7)):
        table = arrow.table({"image": [{"bytes": file.getvalue()}] * rows, "label": [0] * rows})
        parquet.write_table(table, tmp_path / f"{name}-00000.parquet")
    assert main(["verify", str(tmp_path), "--workers", "1"]) == 0
    assert "37 images checked, 0 bad" in capsys.readouterr().out
