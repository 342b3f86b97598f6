"""The pages of real runs: made by the commands, looked at in a browser on a desktop and a phone, light and dark."""

from __future__ import annotations

import csv
import json
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from browser_pages import SIZES, axe_findings, browser, open_page
from stage_runs import FINETUNE, PRETRAIN, PROBE, Stage, data

from mae_core.report.page import Page, Section, part, render

pytestmark = pytest.mark.once  # pages are drawn from files of a run

pytest.importorskip("jinja2", reason="the report extra is not installed")
pytest.importorskip("matplotlib", reason="the report extra is not installed")

__all__ = ["browser", "data"]
ONE = ["TRAIN.NUM_EPOCHS", "1", "TRAIN.WARMUP_EPOCHS", "0"]


def run_main(stage: Stage, *args: object) -> None:
    assert import_module(f"{stage.package}.cli").main(list(map(str, args))) == 0


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each stage with its page, in a folder whose name is full of markup."""
    root = tmp_path_factory.mktemp("runs & <pages>")
    folders = {stage.package: root / stage.package for stage in (PRETRAIN, FINETUNE, PROBE)}
    for stage in (PRETRAIN, FINETUNE, PROBE):
        folder = folders[stage.package]
        common = ["-data_path", data, "-output", folder, "-batch_size", 8]
        run_main(stage, *common, *stage.tiny, *ONE, *(["MONITOR.EVERY", 1] if stage is PRETRAIN else []))
        scores = ["--json", folder / "eval/scores.json"] if stage is PRETRAIN else []
        run_main(stage, "-eval", "-pretrained", folder, *common, *stage.tiny, *scores)
        compare = [] if stage is PRETRAIN else ["--compare", "by hand=12.5", "--compare", f"itself={folder}"]
        run_main(stage, "report", folder, *compare)
    return folders


def test_each_image_that_was_scored_has_a_line(runs: dict[str, Path]) -> None:
    for package in (FINETUNE.package, PROBE.package):
        folder = runs[package] / "eval"
        rows = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
        assert [row["index"] for row in rows] == list(map(str, range(7)))
        assert rows[4]["image"] == "val/class 1/a 4.jpg"
        right = sum(row["class"] == row["predicted"] for row in rows)
        shares = [[float(row[f"prob_{c}"]) for c in range(3)] for row in rows]
        assert [sum(of_image) for of_image in shares] == pytest.approx([1] * 7, abs=1e-4)
        assert [str(of_image.index(max(of_image))) for of_image in shares] == [row["predicted"] for row in rows]
        assert 100 * right / 7 == pytest.approx(json.loads((folder / "scores.json").read_text())["top1"])


def test_a_page_says_what_the_run_did(runs: dict[str, Path]) -> None:
    pages = {package: (folder / "report.html").read_text() for package, folder in runs.items()}
    for page in pages.values():
        assert not re.search(r'(?:src|href)="(?!data:|#)', page), "refers to another file"
        assert "None are shown" not in page
        assert "cannot be shown" not in page
    pretrain = json.loads((runs[PRETRAIN.package] / "eval/scores.json").read_text())
    assert f"{pretrain['mean_image']:#.3g}" in pages[PRETRAIN.package]
    share = 100 * pretrain["mae"] / pretrain["patch_mean"]  # normalised pixels: the mean of each patch is given
    assert f"{share:.0f} % of the error of each patch&#39;s true mean, which is given" in pages[PRETRAIN.package]
    assert "the mean image&#39;s error" not in pages[PRETRAIN.package]
    assert len(re.findall("<img ", pages[PRETRAIN.package])) == 6 * 3 + 3 * 3  # now, and when it was looked at
    assert "12.5 % by hand" in pages[FINETUNE.package]
    assert pages[FINETUNE.package].count('<span class="tag">') == 2
    assert "attention, rollout" in pages[PROBE.package]
    for package in (FINETUNE.package, PROBE.package):
        figures = json.loads((runs[package] / "eval/scores.json").read_text())
        assert f"balanced accuracy {figures['balanced_accuracy']:.2f} macro F1" in pages[package]
        assert f"AUROC {figures['auroc']:.2f} (percent)" in pages[package]
        assert '<th scope="col">recall</th>' in pages[package]


def test_a_page_shows_what_the_log_holds(runs: dict[str, Path]) -> None:
    for package, folder in runs.items():
        page = (folder / "report.html").read_text()
        for words in ("held out", "images/s", "Data wait", "Memory", "Trained to its end, step"):
            assert words in page
        for words in ("whitened mean tokens", "RankMe", "epoch 1</span>"):
            assert (words in page) == (package == PRETRAIN.package)


@pytest.mark.parametrize("package", [PRETRAIN.package, FINETUNE.package, PROBE.package])
def test_a_run_leaves_provenance_and_a_model_card(runs: dict[str, Path], data: Path, package: str) -> None:
    (start,) = json.loads((runs[package] / "provenance.json").read_text())["starts"]
    assert start["seeds"] == {"run": 0}
    assert start["versions"]["mae-core"]
    assert start["seconds"] > 0
    card = (runs[package] / "MODEL_CARD.md").read_text()
    for words in (
        "26 images",
        str(data),
        "TRAIN.NUM_EPOCHS | 1",
        "training loss",
        "trained from random ones",
        "## Limits",
    ):
        assert words in card


def test_images_that_are_gone_leave_the_rest_of_the_page(runs: dict[str, Path], tmp_path: Path) -> None:
    for stage, words in ((PRETRAIN, "None are shown"), (FINETUNE, "cannot be shown")):
        folder = tmp_path / stage.package
        shutil.copytree(runs[stage.package], folder)
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(re.sub("DATA_PATH: .*", "DATA_PATH: /nowhere", config))
        run_main(stage, "report", folder)
        page = (folder / "report.html").read_text()
        assert "Training loss" in page
        assert words in page


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        (PRETRAIN, ["/nowhere"], "is no run"),
        (FINETUNE, ["RUN", "--compare", "x"], "NAME=RUN"),
        (FINETUNE, ["RUN", "--compare", "x=/nowhere"], "is no run"),
        (PRETRAIN, ["RUN", "--scores", "/nowhere"], "--scores /nowhere"),
        (PROBE, ["RUN", "-output", "/dev/null/x.html"], "cannot be written"),
    ],
)
def test_user_errors_are_one_line(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str], stage: Stage, words: list[str], message: str
) -> None:
    words = [str(runs[stage.package]) if word == "RUN" else word for word in words]
    assert import_module(f"{stage.package}.cli").main(["report", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def show(browser: Any, page: Path, width: int, scheme: str) -> None:
    """Open a page with all that is folded unfolded."""
    open_page(browser, page.as_uri(), width, scheme)
    browser.execute_script("for (const item of document.querySelectorAll('details')) item.open = true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_a_page_fits_the_screen_and_has_no_error(runs: dict[str, Path], browser: Any, size: str, scheme: str) -> None:
    for folder in runs.values():
        show(browser, folder / "report.html", SIZES[size], scheme)
        width, screen = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width <= screen == SIZES[size]
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 24, 31)"}[scheme]
        loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
        assert browser.execute_script(loaded)
        assert browser.get_log("browser") == []


def test_a_table_fits_a_phone_or_shows_that_it_scrolls(browser: Any, tmp_path: Path) -> None:
    heads = ["class", "images", "precision", "recall", "f1"]
    row = ["Staffordshire bull terrier", "12", "93.1", "88.0", "90.5"]
    tables = [part("table", "Lowest F1 first", heads, [row]), part("table", "wide", 3 * heads, [3 * row])]
    (tmp_path / "page.html").write_text(render(Page("a", "b", "c", [Section("Tables", tables)])))
    open_page(browser, (tmp_path / "page.html").as_uri(), SIZES["phone"], "light")
    narrow, wide = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].map(region => ["
        "region.scrollWidth > region.clientWidth, getComputedStyle(region).backgroundAttachment])"
    )
    assert narrow[0] is False
    assert wide == [True, "local, local, scroll, scroll"]  # covers that go with the table, over shadows that stay


def test_charts_fill_both_halves_of_a_desktop_and_the_column_of_a_phone(runs: dict[str, Path], browser: Any) -> None:
    edges = """return [...document.querySelectorAll('.charts')].map(charts =>
        [...charts.querySelectorAll('.drawing')].map(d => d.getBoundingClientRect()).map(r => [r.left, r.right]))"""
    for folder in runs.values():
        for size, columns in (("desktop", 2), ("phone", 1)):
            show(browser, folder / "report.html", SIZES[size], "light")
            for places in browser.execute_script(edges):
                assert len({left for left, _ in places}) == columns
                assert max(right for _, right in places) > 0.95 * SIZES[size]
                assert min(left for left, _ in places) < 0.05 * SIZES[size]


def test_charts_have_other_colours_in_the_dark(runs: dict[str, Path], browser: Any) -> None:
    strokes = """return [...document.querySelectorAll('.drawing svg :is(path, use, text)')].flatMap(
        drawn => [getComputedStyle(drawn).stroke, getComputedStyle(drawn).fill])"""
    for folder in runs.values():
        found = []
        for scheme in ("light", "dark"):
            show(browser, folder / "report.html", SIZES["desktop"], scheme)
            found.append(
                {colour for colour in browser.execute_script(strokes) if colour not in ("none", "rgb(0, 0, 0)")}
            )
        assert len(found[0]) == len(found[1]) >= 4
        assert not found[0] & found[1]


@pytest.mark.parametrize("size", SIZES)
def test_the_live_badge_covers_nothing(runs: dict[str, Path], browser: Any, tmp_path: Path, size: str) -> None:
    from mae_core.report.page import render
    from mae_finetune.tasks import task_named

    page = tmp_path / "live.html"
    page.write_text(render(task_named("classify").page(str(runs[FINETUNE.package]), []), "1"))
    open_page(browser, page.as_uri(), SIZES[size], "light")
    covered = """
        const live = document.querySelector('.live'), box = live.getBoundingClientRect();
        return [...document.querySelectorAll('body *')].filter(e => e !== live && !e.contains(live)).filter(e => {
            const other = e.getBoundingClientRect();
            return other.left < box.right && box.left < other.right && other.top < box.bottom && box.top < other.bottom;
        }).map(e => e.outerHTML.slice(0, 80))"""
    for place in ("0", "document.body.scrollHeight / 2", "document.body.scrollHeight"):
        browser.execute_script(f"scrollTo(0, {place})")
        assert browser.execute_script(covered) == []


def test_what_needs_no_training_is_a_level_beside_knn(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs[PRETRAIN.package], folder)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "validation":
            line |= {"knn_random_init": 41.5, "knn_raw_pixels": 42.5}
            line.pop("knn_whitened_random_init", None)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_main(PRETRAIN, "report", folder, "--images", 0)
    page = (folder / "report.html").read_text()
    assert ">raw pixels</text>" in page
    assert ">random weights</text>" in page
    assert "random weights, whitened" not in page, "it was not measured"
    assert "Level lines need no training" in page


def test_axe_finds_nothing_that_keeps_people_out(runs: dict[str, Path], browser: Any) -> None:
    for folder in runs.values():
        for width, scheme in ((SIZES["desktop"], "light"), (SIZES["phone"], "dark")):
            show(browser, folder / "report.html", width, scheme)
            assert axe_findings(browser) == []


def test_what_is_folded_is_open_on_paper(runs: dict[str, Path], browser: Any) -> None:
    seen = "return [...document.querySelectorAll('details > :not(summary)')].map(body => body.checkVisibility())"
    for folder in runs.values():
        open_page(browser, (folder / "report.html").as_uri(), SIZES["desktop"], "light")
        assert set(browser.execute_script(seen)) == {False}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        on_paper = browser.execute_script(seen)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        assert set(on_paper) == {True}


def test_the_words_of_a_chart_fit_into_it(runs: dict[str, Path], browser: Any) -> None:
    outside = """return [...document.querySelectorAll('.drawing svg')].flatMap(svg => {
        const frame = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(text => {
            const box = text.getBoundingClientRect();
            return box.top < frame.top || box.bottom > frame.bottom || box.left < frame.left || box.right > frame.right;
        }).map(text => text.textContent);
    })"""
    for folder in runs.values():
        open_page(browser, (folder / "report.html").as_uri(), SIZES["desktop"], "light")
        assert browser.execute_script(outside) == []


def test_boards_show_reconstructions_apart_from_each_other(runs: dict[str, Path]) -> None:
    import mae_core
    from mae_pretrain.config import RECIPE
    from mae_pretrain.train import PICTURES, board_pictures

    folder = runs[PRETRAIN.package]
    grid = board_pictures(RECIPE.load(folder / "config.yaml"))(mae_core.load(folder))["reconstructions"]
    white = (grid == 255).all(axis=(1, 2))
    gaps = (white[1:] & ~white[:-1]).sum()
    assert gaps >= PICTURES
