"""`mae-finetune serve`: each task's answers are those of `predict`, in plain values and on the page in a browser."""

import base64
import io
import re
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from browser_pages import SIZES, axe_findings, browser, open_page
from PIL import Image
from stage_runs import FINETUNE

pytest.importorskip("waitress", reason="the demo extra is not installed")

__all__ = ["browser"]
NAMES = ["<b>red</b>", "green", "blue"]
PLAIN = ["TRAIN.MIXUP_PROB", 0.0, "TRAIN.SMOOTHING", 0.0, "TRAIN.RAND_AUGMENT", False, "TRAIN.RANDOM_ERASE_PROB", 0.0]
SHORT = ["-batch_size", 4, "TRAIN.NUM_EPOCHS", 1, "TRAIN.WARMUP_EPOCHS", 0, "DATA.NUM_WORKERS", 0]
TARGETS = {
    "classify": lambda i: str(i % 3),
    "multilabel": lambda i: ",".join(str(k) for k in range(3) if (i >> k) % 2) or "-",
    "regress": lambda i: f"{i} {1000 - i}.5 {i / 4}",
    "segment": lambda i: f"mask{i}.png",
}


class Served(NamedTuple):
    """A run, what serves it, and an image."""

    task: str
    run: Path
    answers: Any
    image: Path


def trained(task: str, root: Path) -> Path:
    """Fine-tune for an epoch on pictures whose left half is one colour and whose right half is another."""
    rng = np.random.default_rng(0)
    for i in range(8):
        halves = np.repeat([[i % 3] * 10 + [(i + 1) % 3] * 14], 20, axis=0)
        pixels = rng.integers(0, 60, (20, 24, 3)) + 180 * np.eye(3, dtype=int)[halves]
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{i}.png")
        Image.fromarray(halves.astype(np.uint8)).save(root / f"mask{i}.png")
    lines = "".join(f"{i}.png\t{TARGETS[task](i)}\n" for i in range(8))
    for name in ("train_list.txt", "val_list.txt"):
        (root / name).write_text(lines)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    words = ["MODEL.TASK", task, *PLAIN, *(["MODEL.HEAD_CHANNELS", 8] if task == "segment" else []), *SHORT]
    done = FINETUNE.start("-data_path", root, "-output", root / "run", *FINETUNE.tiny, *words)
    assert done.returncode == 0, done.stderr
    return root / "run"


@pytest.fixture(scope="module", params=list(TARGETS))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    from mae_finetune.web.served_run import ServedRun

    root = tmp_path_factory.mktemp(request.param)
    run = trained(request.param, root)
    return Served(request.param, run, ServedRun.load(str(run)), root / "5.png")


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_it_says_what_predict_says(served: Served, tmp_path: Path) -> None:
    import mae_finetune

    told = served.answers.predict(served.image.read_bytes())
    (said,) = mae_finetune.predict(served.run, served.image)
    if served.task == "classify":
        assert told["classes"] == [{"name": g.name, "probability": g.probability} for g in said.guesses]
    elif served.task == "multilabel":
        found = {label["name"]: label["probability"] for label in told["labels"]}
        assert found == {guess.name: guess.probability for guess in said.labels}
        assert list(found.values()) == sorted(found.values(), reverse=True)
    elif served.task == "regress":
        assert told["numbers"] == [{"name": n.name, "value": n.value} for n in said.numbers]
    else:
        assert [(s["name"], s["share"]) for s in told["segments"]] == [(s.name, s.share) for s in said.shares]
        done = FINETUNE.start("predict", "-pretrained", served.run, "--masks", tmp_path, served.image)
        assert done.returncode == 0, done.stderr
        file = Image.open(tmp_path / "5.png").convert("RGB")
        np.testing.assert_array_equal(pixels_of(told["mask"]), np.dstack([file, np.full((20, 24), 255)]))
    height, width = pixels_of(told["image"]).shape[:2]
    assert (height, width) == ((20, 24) if served.task == "segment" else (16, 16))


def test_what_is_no_image_is_refused_in_words(served: Served) -> None:
    from mae_data.errors import DataError

    with pytest.raises(DataError, match="this is no image that can be used: "):
        served.answers.predict(b"no image")


def test_the_page_of_pretraining_sends_other_tasks_here(served: Served) -> None:
    import mae_core
    from mae_core.errors import CheckpointError, UserError
    from mae_pretrain.web.served_model import ServedModel

    if served.task == "classify":
        assert ServedModel.load(served.run).describe()["can"] == ["attend", "classify"]
        return
    if served.task != "multilabel":
        with pytest.raises(CheckpointError, match=f"MODEL.TASK={served.task}, whose head mae-finetune alone builds"):
            mae_core.load(served.run)
    with pytest.raises(UserError, match=f"MODEL.TASK={served.task}: mae-finetune serve {re.escape(str(served.run))}"):
        ServedModel.load(served.run)


def until(holds: Any) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_the_page_shows_it(browser: Any, served: Served, tmp_path: Path, size: str, scheme: str) -> None:
    from selenium.webdriver import ActionChains

    def text(name: str) -> str:
        return str(browser.find_element("id", name).text)

    server = served.answers.server("127.0.0.1").make_server(0)
    threading.Thread(target=server.run, daemon=True).start()
    browser.get_log("browser")
    open_page(browser, f"http://127.0.0.1:{server.effective_port}/", SIZES[size], scheme)
    until(lambda: text("name") == "run")
    assert text("chosen") == "JPEG, PNG, WebP, GIF, BMP, TIFF or NumPy (.npy) of 8-bit numbers, in colour or grey"
    (tmp_path / "bad.png").write_bytes(b"no image")
    browser.find_element("id", "file").send_keys(str(tmp_path / "bad.png"))
    until(lambda: "no image that can be used" in text("trouble"))
    browser.get_log("browser")  # Chromium notes the answer 400
    browser.find_element("id", "file").send_keys(str(served.image))
    until(lambda: text("status") == "Done.")
    told = served.answers.predict(served.image.read_bytes())
    if served.task in ("classify", "multilabel"):
        named = told["classes" if served.task == "classify" else "labels"]
        lines = [part for guess in named for part in (guess["name"], f"{100 * guess['probability']:.1f} %")]
        assert text("classes").splitlines() == lines
    if served.task == "multilabel":
        said = [guess["name"] for guess in told["labels"] if guess["probability"] >= 0.5]
        assert ("No label reaches 50.0 %" in text("note")) if not said else all(name in text("note") for name in said)
        assert len(browser.find_elements("css selector", ".ours")) == len(said)
    if served.task == "regress":
        values = [float(line) for line in text("numbers").splitlines()[1::2]]
        assert values == pytest.approx([number["value"] for number in told["numbers"]], rel=1e-5)
    if served.task == "segment":
        lines = [f"{s['name']} {100 * s['share']:.1f} %" for s in told["segments"]]
        assert text("legend").splitlines() == lines
        ActionChains(browser).move_to_element(browser.find_element("id", "picture")).perform()
        until(lambda: text("at").startswith("This pixel: "))
        assert text("at").removeprefix("This pixel: ") in NAMES
    width, screen = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= screen
    assert browser.get_log("browser") == []
    assert axe_findings(browser) == []
