"""The page of `mae-probe map` in a browser: it fits, a click shows the neighbours, a label shows its images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_pages import SIZES, axe_findings, browser, open_page
from until import until

from mae_probe.mapping.embedding_map import EmbeddingMap, examine
from mae_probe.mapping.sprite import photo_sprite, pixel_sprite

pytestmark = pytest.mark.once  # a browser's page does not depend on Paddle

pytest.importorskip("jinja2", reason="the report extra is not installed")

__all__ = ["browser"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 3
    features = (3 * np.eye(3, 8)[labels] + rng.normal(size=(200, 8))).astype(np.float32)
    features[90] = features[0]
    pictures = rng.integers(0, 256, (200, 12, 12, 3), dtype=np.uint8)
    found, sheet = examine(features, labels), photo_sprite(pictures, 200)
    patches, rows = pixel_sprite(pictures[:40, :4, :4]), np.arange(0, 200, 5)
    names, paths = {0: "cat", 1: "<b>dog</b>", 2: "cow"}, [f"a <i>{i}</i>.jpg" for i in range(200)]
    made = EmbeddingMap("photos & more", paths, labels, names, features, found, sheet, patches, rows)
    path = tmp_path_factory.mktemp("map") / "map.html"
    made.write(path)
    return path


def neighbours(browser: Any) -> list[str]:
    found = browser.find_elements("css selector", ".near .thumb")
    return [image.get_attribute("aria-label") for image in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_and_keeps_nobody_out(page: Path, browser: Any, size: str, scheme: str) -> None:
    open_page(browser, page.as_uri(), SIZES[size], scheme)
    width, screen = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= screen == SIZES[size]
    assert browser.get_log("browser") == []
    assert axe_findings(browser) == []


def test_a_click_shows_the_neighbours_of_an_image(page: Path, browser: Any) -> None:
    from selenium.webdriver import ActionChains

    open_page(browser, page.as_uri(), SIZES["desktop"], "light")
    browser.find_element("css selector", "#duplicates .thumb").click()
    assert browser.find_element("css selector", "#chosen h3").text == "a <i>0</i>.jpg"
    assert neighbours(browser)[0] == "a <i>90</i>.jpg"
    assert len(neighbours(browser)) == 10
    assert browser.find_element("css selector", "#chosen .patch").is_displayed()
    browser.find_element("css selector", ".near .thumb").click()
    assert browser.find_element("css selector", "#chosen h3").text == "a <i>90</i>.jpg"
    canvas = browser.find_element("id", "canvas")
    at = "const [x, y] = place(17); return [x - arguments[0].clientWidth / 2, y - arguments[0].clientHeight / 2]"
    x, y = browser.execute_script(at, canvas)
    ActionChains(browser).move_to_element_with_offset(canvas, round(x), round(y)).click().perform()
    until(lambda: browser.find_element("css selector", "#chosen h3").text == "a <i>17</i>.jpg")


def test_points_are_drawn_in_the_colours_of_their_labels(page: Path, browser: Any) -> None:
    open_page(browser, page.as_uri(), SIZES["desktop"], "dark")
    drawn = """draw();
        const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data, colours = new Set();
        for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] > 180) colours.add(pixels.slice(i, i + 3).join());
        return [...colours].length"""
    assert browser.execute_script(drawn) > 3
    keys = browser.find_elements("css selector", "#keys button")
    assert [key.text for key in keys] == ["cat", "<b>dog</b>", "cow"]
    inked = """draw();
        const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.filter((value, i) => i % 4 === 3 && value > 100).length"""
    before = browser.execute_script(inked)
    keys[1].click()
    assert browser.find_elements("css selector", "#keys button")[1].get_attribute("aria-pressed") == "true"
    assert browser.execute_script(inked) < 0.7 * before
    browser.find_element("id", "pictures").click()
    assert browser.execute_script(inked) > 100


def test_images_without_labels_have_a_map(browser: Any, tmp_path: Path) -> None:
    features = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    pictures, labels = np.zeros((30, 8, 8, 1), np.uint8), np.full(30, -1)
    patches, sheet = pixel_sprite(np.zeros((3, 2, 2, 3), np.uint8)), photo_sprite(pictures, 30)
    paths = [f"{i}.png" for i in range(30)]
    made = EmbeddingMap("x", paths, labels, {}, features, examine(features, labels), sheet, patches, np.arange(3))
    made.write(tmp_path / "map.html")
    browser.get_log("browser")  # what reading the canvas back left there
    open_page(browser, (tmp_path / "map.html").as_uri(), SIZES["desktop"], "light")
    assert len(neighbours(browser)) == 10
    assert "label" not in browser.find_element("tag name", "body").text.lower()
    assert browser.get_log("browser") == []


def test_an_image_is_found_by_its_name(page: Path, browser: Any) -> None:
    from selenium.webdriver import Keys

    open_page(browser, page.as_uri(), SIZES["phone"], "light")
    browser.find_element("id", "find").send_keys("<i>123", Keys.ENTER)
    assert browser.find_element("css selector", "#chosen h3").text == "a <i>123</i>.jpg"
