"""Build the documentation: stage the pages, add what the code says, run Zensical strictly.

Called by `tools/dev.py docs` with the Python of the environment.
"""

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.extend(map(str, Path(__file__).parents[2].glob("packages/*/src")))  # no package is installed, nor is Paddle

import yaml

from notebook_outputs import OUTPUTS, read_outputs, shown
from site_code import code_blocks
from site_links import include_sections, linked_files, rewrite_links
from site_pages import HERE, SECTIONS, Page, api_pages, first_heading, notebooks, pages
from site_reference import generated
from workspace import ROOT, WorkspaceError, show

STAGED = HERE / "build" / "pages"
CONFIG = HERE / "build" / "mkdocs.yml"
BUILT = HERE / "build" / "html"
ASSETS = HERE / "assets"
SOURCES = sorted(ROOT.glob("packages/*/src"))


def main() -> int:
    """Build, or serve, the site; return the exit code."""
    parser = argparse.ArgumentParser(prog="tools/dev.py docs", description=__doc__)
    parser.add_argument("--serve", nargs="?", const="127.0.0.1:8000", metavar="HOST:PORT", help="look at it")
    args = parser.parse_args()
    try:
        stage()
    except WorkspaceError as error:
        print(f"tools/dev.py docs: {error}", file=sys.stderr)
        return error.exit_code
    words = ["serve", "--dev-addr", args.serve] if args.serve else ["build", "--clean", "--strict"]
    command = [str(Path(sys.executable).parent / "zensical"), *words, "--config-file", str(CONFIG)]
    show(command)
    code = subprocess.run(command, check=False).returncode
    if not code and not args.serve:
        print(f"{BUILT / 'index.html'}")
    return code


def stage() -> None:
    """Write all pages and the settings with the navigation into the build folder."""
    shutil.rmtree(STAGED.parent, ignore_errors=True)
    chosen = pages()
    paths = {page.source: page.path for page in (*chosen, *notebooks())}
    for page in chosen:
        _add_files(linked_files(page.source.read_text(encoding="utf-8"), page.source), paths)
    _add_files(OUTPUTS.glob("*.png"), paths)
    nav: dict[str, list[object]] = {}
    for page in chosen:
        text = page_text(page, paths)
        _write(page.path, described(code_blocks(text)))
        nav.setdefault(page.section, []).append({page.title or first_heading(text): page.path})
    for page in notebooks():
        text = rewrite_links(notebook_text(page.source), page.source, page.path, paths)
        _write(page.path, described(code_blocks(text)))
        nav.setdefault(page.section, []).append({first_heading(text): page.path})
    for path, title, modules in api_pages():
        _write(path, f"# {title}\n\n" + "\n\n".join(f"::: {module}" for module in modules) + "\n")
        nav.setdefault("API", []).append({title: path})
    shutil.copytree(ASSETS, STAGED / "assets", dirs_exist_ok=True)
    _write_settings(nav)


def page_text(page: Page, paths: dict[Path, str]) -> str:
    """Return a page as the site has it."""
    text = rewrite_links(page.source.read_text(encoding="utf-8"), page.source, page.path, paths)
    text = include_sections(text, page.path, paths)
    text = re.sub(r"^<!-- generated: (.+?) -->$", lambda match: generated(match[1]), text, flags=re.MULTILINE)
    return text


def described(text: str) -> str:
    """Put the first paragraph before a page as its description; search engines and previews show that."""
    blocks = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).split("\n\n")
    prose = [block.strip() for block in blocks if block.strip() and block.strip()[0] not in "#|<>-!"]
    if not prose:
        return text
    words = re.sub(r"[`*]|!?\[([^\]]*)\]\([^)]*\)", r"\1", prose[0])
    said = html.escape(" ".join(words.split()))  # the theme takes it as it is
    return f"---\ndescription: {json.dumps(said, ensure_ascii=False)}\n---\n\n{text}"


def notebook_text(file: Path) -> str:
    """Return a notebook's cells as a page, each with what it printed and drew when it was run."""
    cells, outputs = json.loads(file.read_text(encoding="utf-8"))["cells"], read_outputs(file)
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        if cell["id"] in outputs:
            parts.append(shown(outputs[cell["id"]], file.parent))
    where = f"The notebook itself: `{file.relative_to(ROOT)}`."
    return "\n\n".join([*filter(None, parts), where]) + "\n"


def _add_files(files: Iterable[Path], paths: dict[Path, str]) -> None:
    """Take pictures and other files that pages link to along."""
    for file in files:
        if file not in paths and ROOT in file.parents:
            # One folder holds all; files of packages may have equal names.
            paths[file] = f"files/{'-'.join(file.relative_to(ROOT).parts).lstrip('.')}"
            (STAGED / "files").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, STAGED / paths[file])


def _write(path: str, text: str) -> None:
    (STAGED / path).parent.mkdir(parents=True, exist_ok=True)
    (STAGED / path).write_text(text, encoding="utf-8")


def _write_settings(nav: dict[str, list[object]]) -> None:
    settings = yaml.safe_load((HERE / "mkdocs.yml").read_text(encoding="utf-8"))
    settings |= {
        "docs_dir": STAGED.name,
        "site_dir": BUILT.name,
        "nav": [{name: nav[name]} for name in SECTIONS if name in nav],
    }
    for plugin in settings["plugins"]:
        if isinstance(plugin, dict) and "mkdocstrings" in plugin:
            plugin["mkdocstrings"]["handlers"]["python"]["paths"] = [str(path) for path in SOURCES]
    CONFIG.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
