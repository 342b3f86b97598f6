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

ROOT = Path(__file__).resolve().parents[1]
# In this order the first one makes the run that the next two take.
NOTEBOOKS = [
    ROOT / "packages" / path
    for path in (
        "mae-pretrain/notebooks/reconstruct.ipynb",
        "mae-probe/notebooks/features_knn_attention.ipynb",
        "mae-finetune/notebooks/few_labels.ipynb",
        "mae-finetune/notebooks/serve_an_export.ipynb",
        "mae-pretrain/notebooks/pretrain_your_folder.ipynb",
    )
]
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
    env.pop("OMP_NUM_THREADS", None)  # most people have not set it
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
