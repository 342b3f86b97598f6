"""The command from the outside: what a user types and sees."""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from statistics import median

import numpy as np
import pytest
import yaml
from PIL import Image

from mae_data.commands.bench import Rate, advise
from mae_data.commands.demo_digits import make_demo_dataset
from mae_data.errors import InputError

COMMAND = [sys.executable, "-c", "import sys; from mae_data.cli import main; sys.exit(main())"]
needs_sklearn = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="needs scikit-learn (the extra `demo`)"
)


def run(*arguments, before="", env=None):
    command = [*COMMAND[:2], before + COMMAND[2], *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}, check=False
    )


def fails(code, *arguments, **options):
    """Run a command that must fail with one line, and return that line."""
    done = run(*arguments, **options)
    assert done.returncode == code, done
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mae-data {arguments[0]}: error: ")
    return line


def test_the_console_script_is_declared():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="mae-data")
    assert script.value == "mae_data.__main__:main"


def test_the_module_is_the_command(image_root):
    words = [sys.executable, "-m", "mae_data", "verify", str(image_root)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, run("verify", image_root).stdout), done.stderr


def test_help_imports_nothing_heavy():
    check = "import atexit; atexit.register(lambda: print(sorted({'paddle','sklearn','numpy','PIL'}&{*sys.modules})));"
    done = run("--help", before=f"import sys; {check}")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("index", "verify", "stats", "demo-dataset"))
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["index"], ["verify", "x", "--wrong"], ["stats", "x", "--channels", 0]])
def test_wrong_arguments_are_one_line(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("mae-data")
    assert line.endswith("--help`")


def test_debug_shows_the_traceback(tmp_path):
    assert "nowhere is not a folder" in fails(2, "index", tmp_path / "nowhere")
    assert "Traceback" in run("index", tmp_path / "nowhere", "--debug").stderr


@pytest.mark.parametrize(
    ("redirect", "code", "said"),
    [
        (">/dev/full", 2, "mae-data stats: error: standard output cannot be written (No space left on device)\n"),
        ("| true", 141, ""),
        (">&-", 0, ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_closed_and_abandoned_output(image_root, redirect, code, said, unbuffered):
    words = ["bash", "-c", f'set -o pipefail; "$0" -m mae_data stats "$1" {redirect}', sys.executable, str(image_root)]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_message_cannot_control_the_terminal(tmp_path):
    assert "/?[2Jx: no such folder" in fails(3, "stats", tmp_path / "\x1b[2Jx")


def test_index_then_verify(tmp_path, save_image):
    for i in range(10):
        save_image(tmp_path / "cat" / f"{i}.png", i)
    done = run("index", tmp_path, "--val-fraction", 0.3, "--seed", 4)
    assert "7 images for training, 3 for validation, 1 classes" in done.stdout
    assert "use --force" in fails(2, "index", tmp_path)
    assert run("index", tmp_path, "--force").returncode == 0
    assert run("verify", tmp_path).stdout == "10 images checked, 0 bad, 0 duplicates\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_verify_reports_bad_images_and_duplicates(image_root, tmp_path, workers):
    (image_root / "03.png").write_bytes((image_root / "03.png").read_bytes()[:100])
    (image_root / "07.png").unlink()
    (image_root / "val_list.txt").write_text("00.png 0\n\n09.png 0\n09.png 0\n")
    done = run("verify", image_root, "--json", tmp_path / "report.json", "--workers", workers)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "23 images checked, 2 bad, 3 duplicates"
    assert "train_list.txt:4 (03.png): cannot decode the image" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"] is False
    assert report["images"] == {f"{image_root}/train_list.txt": 20, f"{image_root}/val_list.txt": 3}
    assert [(bad["line"], bad["path"]) for bad in report["bad"]] == [(4, "03.png"), (8, "07.png")]
    assert "No such file" in report["bad"][1]["reason"]
    places = [(twin["line"], twin["path"], twin["first"]) for twin in report["duplicates"]]
    train = f"{image_root}/train_list.txt"
    assert places == [(1, "00.png", f"{train}:1"), (3, "09.png", f"{train}:10"), (4, "09.png", f"{train}:10")]


def test_verify_takes_named_lists_and_checks_labels_against_the_classes(image_root):
    (image_root / "one.txt").write_text("01.png 1\n")
    assert run("verify", image_root, "--list", "one.txt").stdout.startswith("1 images checked")
    (image_root / "classes.txt").write_text("a\n")
    assert "one.txt:1: label 1 is too large" in fails(3, "verify", image_root, "--list", "one.txt")


def test_verify_refuses_what_leaves_the_root(image_root):
    (image_root / "train_list.txt").write_text("01.png 0\n../images/02.png 0\n")
    assert fails(3, "verify", image_root).endswith("opt in with --allow-outside")
    assert run("verify", image_root, "--allow-outside").returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_stats_are_those_of_all_pixels(tmp_path, save_image, channels, workers):
    sizes = [(3, 5), (20, 10), (7, 7), (1, 1)]
    for i, size in enumerate(sizes):
        save_image(tmp_path / f"{i}.png", i, size)
    (tmp_path / "l.txt").write_text("0.png 0\n1.png 2\n2.png 2\n3.png 2\n")
    options = ["--list", "l.txt", "--channels", channels, "--workers", workers]
    stats = json.loads(run("stats", tmp_path, "--json", *options).stdout)
    images = [Image.open(tmp_path / f"{i}.png").convert("RGB" if channels == 3 else "L") for i in range(4)]
    pixels = np.concatenate([np.asarray(image, np.float64).reshape(-1, channels) for image in images]) / 255
    np.testing.assert_allclose(stats["mean"], pixels.mean(0), rtol=1e-13)
    np.testing.assert_allclose(stats["std"], pixels.std(0), rtol=1e-13)
    assert (stats["images"], stats["classes"]) == (4, 2)
    assert stats["images_per_class"] == {"min": 1, "median": 2, "max": 3}
    for side, name in enumerate(("width", "height")):
        values = [size[side] for size in sizes]
        assert stats[name] == {"min": min(values), "median": median(values), "max": max(values)}
    text = run("stats", tmp_path, *options).stdout
    assert f"{stats['mean'][0]:.6f}" in text
    assert "min 1, median 2, max 3" in text


def test_stats_of_five_bands_become_a_config(tmp_path):
    tiles = np.random.default_rng(0).integers(0, 9000, (3, 6, 7, 5)).astype(np.uint16)
    for i, tile in enumerate(tiles):
        np.save(tmp_path / f"{i}.npy", tile)
    assert "3 images for training" in run("index", tmp_path).stdout
    text = run("stats", tmp_path, "--value-range", 10000, "--yaml", tmp_path / "s.yaml", "--workers", 1).stdout
    assert "value range       10000" in text
    assert f"highest           {' '.join(map(str, tiles.max((0, 1, 2))))}" in text
    data = yaml.safe_load((tmp_path / "s.yaml").read_text())["DATA"]
    assert (data["IMAGE_CHANNELS"], data["VALUE_RANGE"]) == (5, 10000)
    exact = tiles.astype(np.float64).reshape(-1, 5) / 10000
    np.testing.assert_allclose(data["IMAGENET_MEAN"], exact.mean(0), rtol=1e-14)
    np.testing.assert_allclose(data["IMAGENET_STD"], exact.std(0), rtol=1e-12)
    assert "value range       65535" in run("stats", tmp_path).stdout  # that of the type, where nothing is said
    done = run("stats", tmp_path, "--value-range", 8000)
    assert (done.returncode, "leave the value range 8000" in done.stderr) == (3, True)
    assert "does not end in .yaml" in fails(2, "stats", tmp_path, "--yaml", "s.json")
    np.save(tmp_path / "2.npy", np.zeros((6, 7, 4), np.uint16))
    fewer = "train_list.txt:3 (2.npy): the image has 4 channels, 5 are asked for"
    done = run("stats", tmp_path)
    assert (done.returncode, fewer in done.stderr) == (0, True)
    assert "judged by what most of them hold: 5 channels of uint16, 2 of 3" in run("verify", tmp_path).stdout
    done = run("verify", tmp_path, "--channels", 5, "--value-range", 10000)
    assert done.returncode == 3
    assert (
        "(2.npy): the image has 4 channels, 5 are asked for: state 4 (IMAGE_CHANNELS, --channels)\n3 images checked"
        in done.stdout
    )


def test_stats_of_floats_need_a_range(tmp_path):
    tiles = np.random.default_rng(0).normal(size=(2, 5, 5, 2)).astype(np.float32)
    for i, tile in enumerate(tiles):
        np.save(tmp_path / f"{i}.npy", tile)
    run("index", tmp_path)
    line = fails(2, "stats", tmp_path)
    assert f"float32 from {tiles.min():g} to {tiles.max():g}; state the range" in line
    stats = json.loads(run("stats", tmp_path, "--json", "--value-range", -4, 4).stdout)
    assert stats["value_range"] == [-4, 4]
    exact = (tiles.astype(np.float64).reshape(-1, 2) + 4) / 8
    np.testing.assert_allclose(stats["mean"], exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(stats["std"], exact.std(0), rtol=1e-12)
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", np.full((5, 5, 2), 0.5, np.float32))
    assert "channel 0, 1 (from 0) is the same" in fails(
        3, "stats", tmp_path, "--value-range", 0, 1, "--yaml", tmp_path / "s.yaml"
    )
    assert "give the white of integers" in fails(2, "stats", tmp_path, "--value-range", 4, 1)


def test_stats_pass_over_what_training_passes_over_and_name_it(image_root):
    (image_root / "00.png").write_bytes(b"")
    (image_root / "07.png").unlink()
    done = run("stats", image_root)
    assert done.returncode == 0, done.stderr
    assert "skipped           2\n" in done.stdout
    assert [re.search(r"\((\d+\.png)\)", line)[1] for line in done.stderr.splitlines()] == ["00.png", "07.png"]
    (image_root / "few.txt").write_text("".join(f"{i:02}.png\n" for i in range(1, 19)))
    right = json.loads(run("stats", image_root, "--json", "--list", "few.txt").stdout)
    (image_root / "few.txt").write_text("".join(f"{i:02}.png\n" for i in (0, *range(1, 19))))
    found = json.loads(run("stats", image_root, "--json", "--list", "few.txt").stdout)
    assert (found["mean"], found["std"], found["skipped"]) == (right["mean"], right["std"], 2)
    for i in range(1, 11):
        (image_root / f"{i:02}.png").write_bytes(b"")
    done = run("stats", image_root)  # more than half
    assert (done.returncode, done.stdout) == (3, "")
    assert f"`mae-data verify {image_root} --channels 3 --value-range 255` lists them all" in done.stderr
    for path in image_root.glob("*.png"):
        path.unlink()
    line = fails(3, "stats", image_root)
    assert "none of the 20 images looked at can be read, such as " in line
    assert "train_list.txt:1 (00.png)" in line


def test_file_names_do_not_depend_on_the_locale(tmp_path, save_image):
    save_image(tmp_path / "données é" / "犬.png")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert run("index", tmp_path, env=ascii_only).returncode == 0
    assert (tmp_path / "train_list.txt").read_text(encoding="utf-8") == "données é/犬.png 0\n"
    assert run("verify", tmp_path, env=ascii_only).returncode == 0
    (tmp_path / "données é" / "犬.png").write_bytes(b"")
    done = run("verify", tmp_path, env=ascii_only)
    assert done.returncode == 3
    assert "not an image" in done.stdout


def test_a_file_that_cannot_be_written_is_named(tmp_path, save_image):
    save_image(tmp_path / "a" / "1.png")
    (tmp_path / "train_list.txt").mkdir()
    assert "cannot write" in fails(2, "index", tmp_path, "--force")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "train_list.txt"]


def test_demo_dataset_without_scikit_learn(tmp_path):
    hide = "import sys; sys.modules['sklearn'] = sys.modules['sklearn.datasets'] = None; "
    assert 'pip install "mae-data[demo]"' in fails(2, "demo-dataset", tmp_path / "d", before=hide)
    assert not (tmp_path / "d").exists()


@needs_sklearn
def test_demo_dataset(tmp_path):
    from sklearn.datasets import load_digits

    scans, digits = load_digits(return_X_y=True)
    root = tmp_path / "digits"
    done = run("demo-dataset", root, "--size", 16)
    assert "1347 digits for training, 450 for validation" in done.stdout
    assert "1797 images checked, 0 bad, 0 duplicates" in run("verify", root).stdout
    entries = {
        part: [line.split() for line in (root / f"{part}_list.txt").read_text().splitlines()]
        for part in ("train", "val")
    }
    numbers = {part: {int(path[-8:-4]) for path, _ in entries[part]} for part in entries}
    assert numbers["train"] | numbers["val"] == set(range(1797))
    assert not numbers["train"] & numbers["val"]
    for part, lines in entries.items():
        for path, label in lines:
            assert digits[int(path[-8:-4])] == int(label)
            assert path.startswith(f"{part}/{label}/")
    held_out = np.bincount([int(label) for _, label in entries["val"]])
    np.testing.assert_allclose(held_out, np.bincount(digits) / 4, atol=0.5)
    for path, _ in entries["val"][::50]:
        with Image.open(root / path) as image:
            assert (image.mode, image.size, image.format) == ("L", (16, 16), "JPEG")
            scan = Image.fromarray(np.round(scans[int(path[-8:-4])].reshape(8, 8) * 255 / 16).astype(np.uint8))
            wanted = np.asarray(scan.resize((16, 16), Image.Resampling.BICUBIC), float)
            assert np.abs(np.asarray(image, float) - wanted).mean() < 5  # what JPEG changes


@needs_sklearn
def test_demo_dataset_is_replaced_only_on_request(tmp_path):
    root = tmp_path / "d"
    root.mkdir()
    (root / "mine.txt").touch()
    with pytest.raises(InputError, match="not empty; use --force"):
        make_demo_dataset(root)
    make_demo_dataset(root, size=8, force=True)
    first = (root / "val_list.txt").read_text()
    make_demo_dataset(root, size=8, seed=1, force=True)
    assert (root / "val_list.txt").read_text() != first
    assert len(list(root.glob("*/*/*.jpg"))) == 1797
    assert (root / "mine.txt").exists()
    assert "--size 0" in fails(2, "demo-dataset", tmp_path / "e", "--size", 0)


def test_bench_says_where_the_time_goes_and_what_to_set(tmp_path, make_photo, as_jpeg):
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_bytes(as_jpeg(make_photo(90, 60, i)))
    (tmp_path / "train_list.txt").write_text("".join(f"{i}.jpg\n" for i in range(8)))
    small = ["--image-size", "16", "--batch-size", "4", "--seconds", "0.2"]
    done = run("bench", tmp_path, *small, env={"OMP_NUM_THREADS": "1"})  # of more, Paddle warns
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    assert "8 images, median 90x60 pixels" in out
    shares = dict(re.findall(r"^(\w+) +[\d.]+ +\d+ +(\d+)%$", out, re.MULTILINE))
    assert list(shares) == ["read", "decode", "resize", "collate", "transfer"]
    assert sum(map(int, shares.values())) == pytest.approx(100, abs=3)
    assert re.search(r"workers  images/s\n +0 +\d+\n +1 +\d+\n", out)
    assert re.search(r"set NUM_WORKERS to \d+ per rank: \d+ images/s", out)


def test_bench_passes_over_what_training_passes_over(tmp_path, save_image):
    for i in range(9):
        save_image(tmp_path / f"{i}.png", i)
    (tmp_path / "3.png").write_bytes(b"notes")
    (tmp_path / "5.png").unlink()
    (tmp_path / "train_list.txt").write_text("".join(f"{i}.png\n" for i in range(9)))
    small = ["--image-size", "16", "--batch-size", "4", "--seconds", "0.2"]
    done = run("bench", tmp_path, *small, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "9 images, median 12x10 pixels" in done.stdout
    said = f"2 of 9 images could not be used and were skipped; `mae-data verify {tmp_path} --channels 3"
    assert said in done.stdout
    assert [re.search(r"\((\d\.png)\)", line)[1] for line in done.stdout.splitlines()[-2:]] == ["3.png", "5.png"]


def test_bench_takes_images_of_any_depth(tmp_path):
    for i in range(8):
        np.save(tmp_path / f"{i}.npy", np.full((9, 13, 2), i - 4, np.float32))
    small = ["--image-size", "8", "--batch-size", "4", "--seconds", "0.1"]
    done = run("bench", tmp_path, *small, env={"OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "8 images, median 13x9 pixels" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seconds", "0"], "--seconds 0.0 is not positive"), (["--batch-size", "9"], "8 images are fewer than a batch")],
)
def test_bench_names_what_cannot_work(tmp_path, save_image, arguments, message):
    for i in range(8):
        save_image(tmp_path / f"{i}.png", i)
    (tmp_path / "train_list.txt").write_text("".join(f"{i}.png\n" for i in range(8)))
    done = run("bench", tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_more_workers_are_advised_only_where_they_gain():
    assert advise([Rate(0, 100), Rate(1, 105), Rate(2, 190), Rate(4, 200)]).workers == 2
    assert advise([Rate(0, 100), Rate(1, 90), Rate(2, 100)]).workers == 0
