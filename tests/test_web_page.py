"""The page of `mae-pretrain serve` in a browser: upload, masks by hand, a bad file, a classifier."""

import re
import threading
import time

import pytest
from browser_pages import SIZES, axe_findings, browser, open_page
from stage_runs import write_images

pytestmark = pytest.mark.once  # a browser's page does not depend on Paddle

pytest.importorskip("waitress", reason="the demo extra is not installed")

__all__ = ["browser"]
SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    return root / write_images(root, "<b>..", 1)[0].rpartition(" ")[0]


def serving(model):
    """Serve a model; returns the address. The server's thread ends with the process."""
    from mae_pretrain.web.application import Application
    from mae_pretrain.web.served_model import ServedModel

    server = Application(ServedModel(model, "model"), "127.0.0.1").make_server(0)
    threading.Thread(target=server.run, daemon=True).start()
    return f"http://127.0.0.1:{server.effective_port}/"


@pytest.fixture(scope="module")
def autoencoder():
    from mae_core.models import MaskedAutoencoderViT

    return serving(MaskedAutoencoderViT(decoder_embed_dim=8, decoder_depth=1, decoder_num_heads=2, **SMALL))


@pytest.fixture(scope="module")
def classifier():
    from mae_core.models import VisionTransformer

    return serving(VisionTransformer(num_classes=3, class_names=["<i>cat</i>", "dog", "cow"], **SMALL))


def by_id(browser, name):
    return browser.find_element("id", name)


def until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def choose(browser, address, file, size="desktop", scheme="light"):
    browser.get_log("browser")
    open_page(browser, address, SIZES[size], scheme)
    until(lambda: by_id(browser, "name").text)
    by_id(browser, "file").send_keys(str(file))
    until(lambda: by_id(browser, "status").text == "Done." or by_id(browser, "trouble").text)


def hidden(browser):
    until(lambda: by_id(browser, "status").text != "The model is at work.")
    return int(by_id(browser, "hidden").text.split()[0])


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_an_image_is_masked_reconstructed_and_shown_to_all(browser, autoencoder, image, size, scheme):
    choose(browser, autoencoder, image, size, scheme)
    assert by_id(browser, "trouble").text == ""
    assert hidden(browser) == 12
    for name in ("original", "editor", "reconstruction"):
        assert browser.execute_script("return arguments[0].width", by_id(browser, name)) == 448
    width, screen = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= screen
    assert browser.get_log("browser") == []
    assert axe_findings(browser) == []


def test_sliders_seeds_and_strokes_change_the_mask(browser, autoencoder, image):
    from selenium.webdriver import ActionChains, Keys

    choose(browser, autoencoder, image)
    first = by_id(browser, "error").text
    by_id(browser, "next").click()
    until(lambda: by_id(browser, "error").text != first)
    by_id(browser, "ratio").send_keys(Keys.ARROW_LEFT * 5)  # 75 to 50 %
    until(lambda: hidden(browser) == 8)
    by_id(browser, "clear").click()
    until(lambda: hidden(browser) == 1)
    editor = by_id(browser, "editor")
    step = editor.size["width"] // 4
    stroke = ActionChains(browser).move_to_element_with_offset(editor, -step // 2, step // 2).click_and_hold()
    stroke.move_by_offset(step, 0).release().perform()
    until(lambda: hidden(browser) == 3)
    ActionChains(browser).send_keys(Keys.ARROW_DOWN, Keys.SPACE).perform()  # the stroke gave it the focus
    until(lambda: hidden(browser) in (2, 4))
    assert browser.get_log("browser") == []


def test_the_class_tokens_attention_is_told_by_pointer_and_key(browser, autoencoder, image):
    from selenium.webdriver import ActionChains, Keys

    choose(browser, autoencoder, image)
    ActionChains(browser).move_to_element(by_id(browser, "original")).perform()
    until(lambda: re.search(r"row [23], column [23]", by_id(browser, "attention").text))
    browser.execute_script("arguments[0].focus()", by_id(browser, "original"))
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN).perform()
    until(lambda: "%" in by_id(browser, "attention").text and "row" in by_id(browser, "attention").text)


def test_a_bad_file_is_said_in_words_and_the_page_goes_on(browser, autoencoder, image, tmp_path):
    bad = tmp_path / "<img src=x>.jpg"
    bad.write_bytes(b"no image")
    choose(browser, autoencoder, bad)
    assert "no image that can be used" in by_id(browser, "trouble").text
    by_id(browser, "file").send_keys(str(image))
    until(lambda: by_id(browser, "shown").is_displayed())
    by_id(browser, "file").send_keys(str(bad))
    until(lambda: by_id(browser, "trouble").text)
    assert not by_id(browser, "shown").is_displayed(), "an image under another one's name"
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(21 * 2**20))
    by_id(browser, "file").send_keys(str(large))
    until(lambda: "large.jpg has 21 MB" in by_id(browser, "trouble").text)
    by_id(browser, "file").send_keys(str(image))
    until(lambda: by_id(browser, "status").text == "Done.")


def test_a_finger_asks_for_the_patch_that_it_touches(browser, autoencoder, image):
    choose(browser, autoencoder, image, "phone")
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    box = "arguments[0].scrollIntoView(); return arguments[0].getBoundingClientRect().toJSON()"
    place = browser.execute_script(box, by_id(browser, "original"))
    point = {"x": place["x"] + 0.6 * place["width"], "y": place["y"] + 0.3 * place["height"]}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    until(lambda: browser.execute_script("return document.activeElement.id") == "original")
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert "row 2, column 3" in by_id(browser, "attention").text


def test_coming_back_shows_the_image_and_the_ratio_that_were_chosen(browser, autoencoder, image):
    from selenium.webdriver import Keys

    choose(browser, autoencoder, image)
    by_id(browser, "ratio").send_keys(Keys.ARROW_LEFT * 5)
    until(lambda: hidden(browser) == 8)
    browser.get("about:blank")
    browser.back()
    until(lambda: by_id(browser, "shown").is_displayed())
    assert hidden(browser) == 8
    assert by_id(browser, "share").text == "50 %"


def test_a_classifier_names_and_says_that_it_reconstructs_nothing(browser, classifier, image):
    choose(browser, classifier, image)
    assert "it reconstructs nothing" in by_id(browser, "lede").text
    assert "<i>cat</i>" in by_id(browser, "classes").text
    assert not by_id(browser, "result").is_displayed()
    assert browser.get_log("browser") == []
