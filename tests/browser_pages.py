"""A Chromium for the tests of pages, and axe-core's rules."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SIZES = {"desktop": 1280, "phone": 390}
_AXE = "const done = arguments[0]; axe.run().then(r => done(r.violations.map(v => [v.id, v.nodes[0].html])))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium; Debian's packages are chromium and chromium-driver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("there is no chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


def open_page(browser: Any, address: str, width: int, scheme: str) -> None:
    """Open a page at a width in a colour scheme."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(address)


def axe_findings(browser: Any) -> list[Any]:
    """Return what axe-core finds: `npm install --no-save axe-core@4` at the top, or the file that AXE_CORE names."""
    file = Path(os.environ.get("AXE_CORE") or ROOT / "node_modules/axe-core/axe.min.js")
    if not file.is_file():
        pytest.skip(f"axe-core is not there: npm install --no-save axe-core@4, or name axe.min.js in AXE_CORE ({file})")
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": file.read_text(encoding="utf-8")})
    found: list[Any] = browser.execute_async_script(_AXE)
    return found
