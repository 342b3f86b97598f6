"""What the notebooks print and draw, kept beside the site's pages: notebooks themselves are kept without outputs.

    .venv/bin/python tools/site/notebook_outputs.py [NAME ...]

runs them, all or those named, in a new home, and writes `outputs/`; the site takes them from there and needs no Paddle.
"""

import argparse
import base64
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image

from site_pages import HERE, NOTEBOOKS
from workspace import WorkspaceError

OUTPUTS = HERE / "outputs"
_FIRST, _LAST = 12, 8  # lines of a long log that are shown
_MOST_BYTES = 90_000  # of a picture with all its colours
Cell = dict[str, Any]


def main() -> int:
    """Run notebooks and write what they give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="such as reconstruct; by default all, in their order")
    parser.add_argument("--home", type=Path, help="folder for their data and runs, kept; by default one that is not")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = (args.home or Path(folder)).resolve()
        home.mkdir(parents=True, exist_ok=True)
        for file in NOTEBOOKS:
            if not args.names or file.stem in args.names:
                write_outputs(file, executed(file, home), home)
                print(file.stem, flush=True)
    return 0


def executed(file: Path, home: Path) -> list[Cell]:
    """Run a notebook with `home` as HOME and as working folder; return its cells with their outputs."""
    import nbformat  # of the environment with Paddle
    from nbclient import NotebookClient

    notebook = nbformat.read(file, as_version=4)
    resources = {"metadata": {"path": str(home)}}
    client = NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=resources)
    client.execute(env={**os.environ, "HOME": str(home), "IPYTHONDIR": str(home / "ipython")})
    cells: list[Cell] = notebook.cells
    return cells


def write_outputs(file: Path, cells: list[Cell], home: Path) -> None:
    """Write texts and pictures of a notebook's code cells; what was `home` is called ~."""
    OUTPUTS.mkdir(exist_ok=True)
    for old in OUTPUTS.glob(f"{file.stem}-*.png"):
        old.unlink()
    kept = {cell["id"]: _kept(cell, file.stem) for cell in cells if cell["cell_type"] == "code"}
    text = json.dumps(kept, indent=1, ensure_ascii=False).replace(str(home), "~") + "\n"
    (OUTPUTS / f"{file.stem}.json").write_text(text, encoding="utf-8")


def _kept(cell: Cell, name: str) -> Cell:
    """Return source, text and names of pictures of a cell; write the pictures."""
    texts, pictures = list[str](), list[str]()
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            pictures.append(f"{name}-{cell['id']}-{len(pictures)}.png")
            (OUTPUTS / pictures[-1]).write_bytes(_small(base64.b64decode(data["image/png"])))
        else:
            texts.append(output.get("text") or data.get("text/plain", ""))
    return {"source": cell["source"], "text": "".join(texts), "pictures": pictures}


def _small(png: bytes) -> bytes:
    """Return a picture with a palette, where it is large."""
    if len(png) < _MOST_BYTES:
        return png
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue()


def read_outputs(file: Path) -> dict[str, Cell]:
    """Return what was kept of a notebook, by the ids of its cells.

    Raises:
        WorkspaceError: it is of other code than the notebook has.
    """
    kept: dict[str, Cell] = json.loads((OUTPUTS / f"{file.stem}.json").read_text(encoding="utf-8"))
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    now = {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}
    if now != {name: cell["source"] for name, cell in kept.items()}:
        raise WorkspaceError(
            f"the outputs of {file.stem} are of other code: .venv/bin/python tools/site/notebook_outputs.py {file.stem}"
        )
    return kept


def shown(cell: Cell, folder: Path) -> str:
    """Return what a cell gave, in markdown: its text, of a long one the beginning and the end, and its pictures.

    Args:
        folder: of the notebook, from which links start.
    """
    lines = cell["text"].splitlines()
    if len(lines) > _FIRST + _LAST + 1:
        lines = [*lines[:_FIRST], f"... ({len(lines) - _FIRST - _LAST} lines)", *lines[-_LAST:]]
    text = ["```output\n" + "\n".join(lines) + "\n```"] if lines else []
    links = [os.path.relpath(OUTPUTS / name, folder) for name in cell["pictures"]]
    return "\n\n".join([*text, *(f"![What the cell draws]({link})" for link in links)])


if __name__ == "__main__":
    sys.exit(main())
