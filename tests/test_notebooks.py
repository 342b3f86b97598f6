"""The notebooks run from top to bottom as they are, say nothing ugly, and are kept without what they printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import nbformat
import pytest
from nbclient import NotebookClient
from stage_runs import IS_PADDLE2

from notebook_outputs import OUTPUTS, read_outputs, shown
from site_pages import NOTEBOOKS
from workspace import WorkspaceError

ROOT = Path(__file__).resolve().parents[1]
UGLY = re.compile(r"\x1b\[|\r|[Ww]arning|WISELY|promot|Traceback")
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def printed(cell) -> str:
    return "".join(output.get("text", "") for output in cell.get("outputs", ()))


def test_no_notebook_is_left_out():
    assert sorted(ROOT.glob("packages/*/notebooks/*.ipynb")) == sorted(NOTEBOOKS)


@pytest.mark.slow
@pytest.mark.xdist_group("notebooks")
@pytest.mark.skipif(IS_PADDLE2, reason="two minutes; the calls are tested on both Paddles")
@every_notebook
def test_it_runs_and_looks_right(path, home):
    notebook = nbformat.read(path, as_version=4)
    env = {**os.environ, "HOME": str(home), "MPLCONFIGDIR": matplotlib.get_cachedir()}
    if path.stem == "serve_an_export":
        env.pop("OMP_NUM_THREADS", None)  # most people have not set it
    else:
        env["OMP_NUM_THREADS"] = "1"  # beside other tests two threads take three times as long
    env.pop("PYTEST_CURRENT_TEST")  # with it, a kernel does not show what compiled code prints
    env |= {"IPYTHONDIR": str(home / "ipython"), "JUPYTER_RUNTIME_DIR": str(home / "jupyter")}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(home)}})
    client.execute(env=env)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    for cell in notebook.cells:
        assert not UGLY.search(printed(cell)), printed(cell)
    assert path.stem == "serve_an_export" or any("image/png" in output.get("data", {}) for output in outputs)
    assert not list(path.parent.glob("runs*"))  # nothing is written beside the notebook


@every_notebook
def test_it_is_kept_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z-]+", name) for name in ids), "an id says what the cell is for"
    verify = [sys.executable, "-m", "nbstripout", "--keep-id", "--verify", path]
    done = subprocess.run(verify, capture_output=True, text=True)
    assert done.returncode == 0, f"run: .venv/bin/nbstripout --keep-id {path}\n{done.stdout}{done.stderr}"


@every_notebook
def test_the_site_shows_what_it_gives(path):
    outputs = read_outputs(path)
    pictures = {name for cell in outputs.values() for name in cell["pictures"]}
    assert pictures == {file.name for file in OUTPUTS.glob(f"{path.stem}-*.png")}
    assert pictures or path.stem == "serve_an_export"
    assert all((OUTPUTS / name).stat().st_size < 100_000 for name in pictures)
    text = "".join(shown(cell, path.parent) for cell in outputs.values())
    assert "```output" in text
    assert not UGLY.search(text)


def test_outputs_of_other_code_are_refused(tmp_path):
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    notebook.cells[1].source += "\n# changed"
    nbformat.write(notebook, tmp_path / NOTEBOOKS[0].name)
    with pytest.raises(WorkspaceError, match=r"of other code: .*notebook_outputs\.py reconstruct"):
        read_outputs(tmp_path / NOTEBOOKS[0].name)


def test_outputs_are_seen(tmp_path):
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(notebook, tmp_path / "run.ipynb")
    verify = [sys.executable, "-m", "nbstripout", "--keep-id", "--verify", tmp_path / "run.ipynb"]
    assert subprocess.run(verify, capture_output=True).returncode == 1


@every_notebook
def test_its_links_lead_somewhere(path):
    notebook = nbformat.read(path, as_version=4)
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", words)
    assert links
    for link in links:
        assert (path.parent / link).is_file(), link
