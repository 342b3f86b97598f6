"""Bad images among good ones: passed over, counted over all workers, named at the end; clean lists."""

import io
import logging

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
from mae_data.transforms.pipelines import make_eval_transform


def damage(root, *numbers):
    for number in numbers:
        (root / f"{number:02d}.png").write_bytes(b"no image")


def open_dataset(root, **options):
    return ListDataset(root, "train_list.txt", make_eval_transform(image_size=8), **options)


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
    assert lines[0].startswith("3 of 20 images could not be used and were skipped; `mae-data verify`")
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
