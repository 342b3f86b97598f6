"""`mae-probe map`: its scores against NumPy, what is planted is found, and the page."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stage_runs import PROBE, assert_refused

from mae_core.errors import UserError
from mae_core.evaluation.features import unit
from mae_probe.mapping import scores
from mae_probe.mapping.embedding_map import Findings, examine
from mae_probe.mapping.sprite import PIXELS, photo_sprite, pixel_sprite

pytestmark = pytest.mark.once

pytest.importorskip("jinja2", reason="the report extra is not installed")


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """400 rows in twenty classes: 7 and 307 nearly the same, 20 of a wrong label, 33 far from all others."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 20
    rows = (12 * np.eye(20, 24)[labels] + rng.normal(size=(400, 24))).astype(np.float32)
    rows[307] = rows[7] + 0.02 * rng.normal(size=24)
    rows[33] = 0
    rows[33, 20:] = 20
    labels[20] = 1
    return rows, labels


def test_neighbours_and_scores_are_those_of_their_formulas() -> None:
    rows = np.random.default_rng(1).normal(size=(700, 9)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = np.random.default_rng(2).integers(-1, 3, 700)
    found, cosines = scores.nearest(rows, 6)
    far = rows * np.linspace(1, 5, 700, dtype=np.float32)[:, None]
    doubts, outlier = scores.label_doubts(found, labels), scores.outlier_scores(far, found)
    for i in (0, 511, 512, 699):
        expected = rows.astype(np.float64) @ rows[i]
        order = [j for j in np.argsort(-expected) if j != i][:6]
        assert found[i].tolist() == order
        np.testing.assert_allclose(cosines[i], expected[order], atol=1e-6)
        distances = np.sqrt(((far[order].astype(np.float64) - far[i]) ** 2).sum(axis=1))
        assert outlier[i] == pytest.approx(distances.mean(), rel=1e-5)
        known = [labels[j] for j in order if labels[j] >= 0]
        share = np.mean([label != labels[i] for label in known]) if known and labels[i] >= 0 else 0
        assert doubts[i] == pytest.approx(share)
    assert not doubts[labels < 0].any()


def test_pairs_are_listed_once_from_the_bound_on() -> None:
    neighbours = np.array([[1, 2], [0, 2], [1, 0], [2, 1]])
    cosines = np.array([[0.99, 0.5], [0.99, 0.97], [0.97, 0.5], [0.96, 0.1]], np.float32)
    pairs = scores.near_duplicates(neighbours, cosines)
    assert [(i, j) for i, j, _ in pairs] == [(0, 1), (1, 2)]
    assert [cosine for *_, cosine in pairs] == pytest.approx([0.99, 0.97])


def test_the_plane_is_that_of_a_singular_value_decomposition() -> None:
    x = np.random.default_rng(3).normal(size=(50, 7)) * np.arange(1, 8)
    plane = scores.principal_plane(x.astype(np.float32))
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    for axis in range(2):
        expected = u[:, axis] * s[axis]
        np.testing.assert_allclose(plane[:, axis] * np.sign(plane[0, axis] * expected[0]), expected, atol=1e-3)


def test_patches_of_one_kind_have_one_colour() -> None:
    rng = np.random.default_rng(4)
    kinds = rng.integers(0, 3, (20, 9))
    tokens = (5 * np.eye(3, 16)[kinds] + 0.01 * rng.normal(size=(20, 9, 16))).astype(np.float16)
    colours = scores.patch_colours(tokens)[..., :2].astype(int)  # three kinds span two components
    centres = np.stack([colours[kinds == kind].mean(axis=0) for kind in range(3)])
    assert np.abs(colours - centres[kinds]).max() < 12
    assert min(np.abs(centres[i] - centres[j]).max() for i in range(3) for j in range(i)) > 100


def test_what_is_planted_is_found(planted: tuple[np.ndarray, np.ndarray]) -> None:
    found = examine(*planted)
    assert [pair[:2] for pair in found.duplicates] == [(7, 307)]
    assert sorted(found.doubtful_labels()) == [20, 33]
    assert found.outliers()[0] == 33


def test_as_many_directions_as_images_do_not_hide_a_pair() -> None:
    rows = np.random.default_rng(5).normal(size=(60, 500)).astype(np.float32)
    rows[40] = rows[3] + 0.01
    assert [pair[:2] for pair in examine(rows, np.full(60, -1)).duplicates] == [(3, 40)]


def test_features_that_do_not_vary_are_refused() -> None:
    with pytest.raises(UserError, match="do not vary"):
        examine(np.ones((9, 4), np.float32), np.zeros(9, np.int64))


@pytest.mark.skipif(scores.find_spec("umap") is None, reason="the umap extra is not installed")
def test_umap_parts_the_classes(planted: tuple[np.ndarray, np.ndarray]) -> None:
    rows, labels = planted
    plane = scores.umap_plane(unit(scores.whitened(rows[:200])))
    near = np.argsort(((plane[:, None] - plane) ** 2).sum(axis=-1), axis=1)[:, 1]
    assert (labels[near] == labels[:200]).mean() > 0.9


def test_without_umap_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mae-probe\[umap\]"):
        scores.require_umap()


def test_sheets_keep_each_picture_in_its_cell_and_stay_small() -> None:
    rng = np.random.default_rng(6)
    pictures = rng.integers(0, 256, (7, 4, 6, 3), dtype=np.uint8)
    sprite = pixel_sprite(pictures)
    sheet = open_url(sprite.url)
    assert (sprite.columns, sprite.rows, sprite.side) == (3, 3, 6)
    np.testing.assert_array_equal(sheet[13:17, 0:6], pictures[6])
    grey = photo_sprite((np.full((200, 100, 1), 9 * i, np.uint8) for i in range(10)), 10)
    assert (grey.columns, grey.side) == (4, 96)
    assert abs(int(open_url(grey.url)[96 + 48, 3 * 96 + 48]) - 63) < 3  # picture 7
    noise = photo_sprite((rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(10_000)), 10_000)
    assert noise.side == 40
    assert noise.columns * noise.rows * noise.side**2 <= PIXELS
    assert len(noise.url) < 25 * 2**20  # noise is the worst that there is


def open_url(url: str) -> np.ndarray:
    import base64
    import io

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images in two class folders: a copy, an image in the wrong folder, and a name that is markup."""
    root = tmp_path_factory.mktemp("<i>photos & more")
    rng = np.random.default_rng(7)
    for i in range(40):
        kind = i % 2
        pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        pixels[4:12, 4:12, 2 * kind] += 190
        name = root / ("red <b>", "blue")[kind if i != 5 else 0] / (f"{i:02}.png" if i else "<!--<script>'0.png")
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name)
    shutil.copy(root / "blue" / "07.png", root / "blue" / "99.png")
    return root


def test_the_command_and_the_call_make_one_page(folder: Path, pretrained: Path, cli, tmp_path: Path) -> None:
    import mae_probe

    size = ["DATA.IMAGE_SIZE", "16", "DATA.NUM_WORKERS", "0", "MODEL.ENCODER.NUM_HEADS", "2"]
    page = tmp_path / "new" / "map.html"
    done = cli("map", "-pretrained", pretrained, "-data_path", folder, "-output", page, "--pool", "mean", *size)
    assert done.returncode == 0, done.stderr
    assert re.search(r"map.html: 41 images, \d+ pairs of near-duplicates, \d+ doubtful labels, 0\.\d MB", done.stdout)
    assert "--list" not in done.stdout  # without lists, all that lies there is shown
    settings = {"DATA.IMAGE_SIZE": 16, "DATA.NUM_WORKERS": 0, "MODEL.ENCODER.NUM_HEADS": 2}
    made = mae_probe.image_map(pretrained, folder, pool="mean", settings=settings)
    assert made.html() == page.read_text()
    assert made.names == {0: "blue", 1: "red <b>"}
    seven, copy = (made.paths.index(f"blue/{name}.png") for name in ("07", "99"))
    first = made.found.duplicates[0]
    assert first == (seven, copy, pytest.approx(1, abs=1e-5))
    assert made.patch_rows.tolist() == list(range(41))
    few = mae_probe.image_map(pretrained, folder, pool="mean", limit=9, settings=settings)
    assert few.paths == [made.paths[i] for i in np.linspace(0, 40, 9).round().astype(int)]
    same = [made.paths.index(path) for path in few.paths]
    np.testing.assert_allclose(few.features, made.features[same], atol=1e-5)


def test_a_page_holds_everything_and_escapes_names(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    import mae_probe

    settings = {"DATA.IMAGE_SIZE": 16, "DATA.NUM_WORKERS": 0, "MODEL.ENCODER.NUM_HEADS": 2}
    made = mae_probe.image_map(pretrained, folder, output=tmp_path / "m.html", settings=settings)
    page = (tmp_path / "m.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)|url\((?!data:)|https?://', page), "refers to another file"
    assert "<!--<script>" not in page
    assert "red <b>" not in page
    assert "<i>photos" not in page
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert shown["paths"] == made.paths
    assert "red <b>/<!--<script>'0.png" in shown["paths"]
    assert shown["neighbours"] == made.found.neighbours.tolist()
    assert shown["cosines"][3][0] == round(1000 * float(made.found.cosines[3, 0]))


def test_labels_are_doubted_where_the_folder_is_wrong(folder: Path) -> None:
    """Raw colours tell these folders apart, so that the scores can be told from the encoder."""
    from mae_probe.mapping.draw import _labels

    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    means = np.stack([np.asarray(Image.open(folder / path), np.float32).mean(axis=(0, 1)) for path in paths])
    labels, names = _labels(None, np.full(len(paths), -1), paths)  # type: ignore[arg-type]
    assert [names[label] for label in labels] == [Path(path).parent.name for path in paths]
    found: Findings = examine(means, labels)
    assert found.doubtful_labels()[0] == paths.index("red <b>/05.png")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["-output", "map.png"], 2, ["map.png", ".html"]),
        (["-output", "/proc/map.html"], 2, ["/proc/map.html cannot be written"]),
        (["--pool", "class", "mean"], 2, ["one --pool and one --block"]),
        (["--limit", "2", "--random-init"], 2, ["--limit 2", "3 to 50,000"]),
        (["-data_path", "/nowhere"], 3, ["/nowhere", "no such folder"]),
    ],
)
def test_user_errors_are_one_line(cli, args, code, words) -> None:
    assert_refused(cli("map", *args, *PROBE.tiny), code, words)


def test_it_is_said_that_there_are_training_images_too(data: Path, pretrained: Path, cli, tmp_path: Path) -> None:
    words = ["map", "-pretrained", pretrained, "-data_path", data, "-output", tmp_path / "map.html", *PROBE.tiny]
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    said = "these are the images of val_list.txt; --list train_list.txt shows the 26 of training"
    assert said in done.stdout.splitlines()
    assert "head." not in done.stdout + done.stderr  # features alone are read
    done = cli(*words, "--list", "train_list.txt")
    assert done.returncode == 0, done.stderr
    assert "26 images" in done.stdout
    assert "these are" not in done.stdout


def test_two_images_are_no_map(cli, pretrained: Path, tmp_path: Path) -> None:
    for i in range(2):
        Image.new("RGB", (16, 16), (99 * i, 0, 0)).save(tmp_path / f"{i}.png")
    args = ["-pretrained", pretrained, "-data_path", tmp_path, "-output", tmp_path / "m.html", *PROBE.tiny]
    assert_refused(cli("map", *args), 2, ["2 images", "a map needs 3"])
    assert not (tmp_path / "m.html").exists()
