"""The documentation's settings and scripts in a small site whose pages are opened as files: styles, links, search."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser_pages import SIZES, axe_findings, browser, open_page

from workspace import ROOT

pytestmark = pytest.mark.once

__all__ = ["browser"]
SITE = ROOT / "tools/site"
# tools/dev.py docs installs it.
ZENSICAL = ROOT / ".venv-docs/bin/zensical"
_WORDS = ["stripes of half a body"] * 8
WIDE = "\n".join(f"| {' | '.join(row)} |" for row in (_WORDS, ["---"] * 8, _WORDS)) + "\n"
LONG = f"```bash\nmae-pretrain {' '.join(f'-flag-of-number_{i} value' for i in range(12))}\n\nmae-data\n```\n"
_TYPED = "const root = document.activeElement.shadowRoot; return root ? root.activeElement.value : ''"
_FOUND = "return document.activeElement.shadowRoot.textContent"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build two pages as `tools/dev.py docs` builds all; returns the first."""
    if not ZENSICAL.is_file():
        pytest.skip("zensical is not installed: tools/dev.py docs")
    root = tmp_path_factory.mktemp("site of files")
    shutil.copytree(SITE / "assets", root / "pages/assets")
    (root / "pages/index.md").write_text(
        f"# Start\n\nTo the [other page](guides/other.md).\n\n![A zebra](zebra.svg)\n\n{LONG}"
    )
    (root / "pages/zebra.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    (root / "pages/guides").mkdir()
    (root / "pages/guides/other.md").write_text(f"# Other page\n\n## Quagga\n\nHalf a zebra.\n\n{WIDE}")
    settings = yaml.safe_load((SITE / "mkdocs.yml").read_text(encoding="utf-8"))
    settings["plugins"] = [plugin for plugin in settings["plugins"] if isinstance(plugin, str)]
    settings |= {"docs_dir": "pages", "site_dir": "html", "nav": [{"Start": "index.md"}, {"Other": "guides/other.md"}]}
    (root / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    command = [ZENSICAL, "build", "--clean", "--strict", "--config-file", root / "mkdocs.yml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "html/index.html"


def until(browser: Any, holds: str) -> None:
    deadline = time.monotonic() + 20
    while not browser.execute_script(holds):
        assert time.monotonic() < deadline, holds
        time.sleep(0.05)


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_pages_opened_as_files_have_styles_links_and_search(browser: Any, start: Path, size: str, scheme: str) -> None:
    from selenium.webdriver import ActionChains, Keys

    browser.get_log("browser")
    open_page(browser, start.as_uri(), SIZES[size], scheme)
    browser.execute_script("localStorage.clear()")  # it holds the scheme of the test before
    browser.refresh()
    assert browser.execute_script("return getComputedStyle(document.querySelector('.md-grid')).maxWidth") != "none"
    assert "sans-serif" in browser.execute_script("return getComputedStyle(document.body).fontFamily")
    assert browser.find_element("css selector", "a[href$='zebra.svg'] > img").get_attribute("alt") == "A zebra"
    dark = browser.execute_script("return getComputedStyle(document.querySelector('img')).filter")
    assert (dark != "none") == (scheme == "dark"), "drawings turn dark with the page"
    code = browser.find_element("css selector", "pre > code")
    assert browser.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", code), "cut off"
    flags = code.find_elements("class name", "flag")
    assert [flag.text for flag in flags] == [f"-flag-of-number_{i}" for i in range(12)]
    assert {len(browser.execute_script("return arguments[0].getClientRects()", flag)) for flag in flags} == {1}
    assert code.text.splitlines()[-1] == "mae-data"
    browser.find_element("link text", "other page").click()
    assert browser.current_url.endswith("/guides/other.html")
    browser.back()
    ActionChains(browser).send_keys("/").perform()
    until(browser, "return document.activeElement.shadowRoot !== null")
    for letter in "zebra":
        ActionChains(browser).send_keys(letter).perform()
    until(browser, f"{_FOUND}.includes('Quagga')")
    assert browser.execute_script(_TYPED) == "zebra"
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    until(browser, "return location.href.includes('guides/other.html#quagga')")
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    assert axe_findings(browser) == []


def test_nothing_asks_the_network(start: Path) -> None:
    for page in start.parent.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text
        assert 'rel="stylesheet" href="http' not in text
