"""The documentation site: which files are on it, how links are turned, what is written from the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import build_site
from site_code import code_blocks
from site_commands import commands_page, parsers
from site_links import include_sections, rewrite_links, section
from site_pages import api_pages, pages
from site_reference import config_keys, exit_codes, generated
from workspace import ROOT, WorkspaceError

pytestmark = pytest.mark.once

README, SOURCES = ROOT / "README.md", ROOT / "packages/mae-data/docs/sources.md"
PATHS = {page.source: page.path for page in pages()}


def test_no_page_takes_the_place_of_another() -> None:
    paths = [page.path for page in pages()]
    assert sorted(set(paths)) == sorted(paths)


def test_every_public_module_is_in_the_api() -> None:
    listed = [module for _, _, modules in api_pages() for module in modules]
    assert len(listed) == len(set(listed)) > 100
    assert {"mae_core.ops.random_masking", "mae_data.sources.source", "mae_pretrain", "mae_probe.heads"} <= set(listed)


@pytest.mark.parametrize("target", ["gone.md", "../LICENSE", "../../mae-core/src"])
def test_a_link_to_nowhere_is_refused_by_name(target: str) -> None:
    with pytest.raises(WorkspaceError, match=r"packages/mae-data/docs/sources\.md: .*is no page"):
        rewrite_links(f"[x]({target})", SOURCES, "guides/sources.md", PATHS)


def test_sections_are_included_without_what_follows() -> None:
    text = "# T\n\n## A b: c\n\none\n\n### In\n\n```\n## no heading\n```\n\n## Next\n\nother\n"
    assert section(text, "a-b-c") == "one\n\n### In\n\n```\n## no heading\n```"
    with pytest.raises(WorkspaceError, match="no heading #gone"):
        section(text, "gone")
    included = include_sections("<!-- include: README.md#pre-train -->", "design/x.md", PATHS)
    assert "](../packages/mae-pretrain.md)" in included


def test_shell_blocks_are_named_and_their_comments_make_no_line_too_long() -> None:
    long = "mae-data index pets \\\n    --val-fraction 0.2" + 60 * " " + "# a fifth\nmae-data stats pets   # sizes\n"
    above = "# a fifth\nmae-data index pets \\\n    --val-fraction 0.2\n# sizes\nmae-data stats pets\n"
    assert code_blocks(f"x\n\n```\n{long}```\n") == f"x\n\n```bash\n{above}```\n"
    for kind, shown in (("", "bash"), ("python", "python"), ("yaml", "yaml"), ("text", "text")):
        short = "f(1)   # one\n"
        assert code_blocks(f"```{kind}\n{short}```") == f"```{shown}\n{short}```"
    assert code_blocks("```\n$ mae-data stats pets\n```") == "```console\n$ mae-data stats pets\n```"
    inside = f"def f():\n    return g({80 * '1'})   # why\n"
    assert code_blocks(f"```python\n{inside}```").splitlines()[2] == "    # why"


def test_the_first_page_leads_to_all_that_a_stranger_wants() -> None:
    text = (ROOT / "tools/site/pages/index.md").read_text(encoding="utf-8")
    doors = re.findall(r"^## \[.+?\]\((.+?)\)", text, re.MULTILINE)
    wanted = ("mae-data/docs/own_data.md", "mae-pretrain/README.md", "mae-core/MODELS.md")
    assert len(doors) == 3
    assert all(door.endswith(page) for door, page in zip(doors, wanted, strict=True))
    assert {"(which.md)", "(elsewhere.md)", "(faq.md)"} <= set(re.findall(r"\(\w+\.md\)", text))


def test_the_reference_has_every_command_and_key() -> None:
    page = commands_page()
    assert len(list(parsers())) > 20
    for parser in parsers():
        assert f"# {parser.prog}\n" in page
        assert "\\|" not in "".join(re.findall(r"`[^`\n]*`", page)), "code is shown as it stands"
        assert all(f"`{action.option_strings[-1]}`" in page for action in parser._actions if action.option_strings)
    assert "| `train_list.txt` |" in config_keys("mae_pretrain")
    assert "`mae_core.errors.CheckpointError`" in exit_codes()
    with pytest.raises(KeyError):
        generated("nothing")


def test_the_reference_is_written_without_paddle() -> None:
    pages = (ROOT / "tools/site/pages/reference").glob("*.md")
    names = re.findall(r"<!-- generated: (.+?) -->", "".join(page.read_text(encoding="utf-8") for page in pages))
    assert len(names) > 5
    code = "import sys; sys.modules['paddle'] = None; import build_site as b; "
    code += f"print([len(b.generated(name)) for name in {names}])"
    search = os.pathsep.join(str(ROOT / folder) for folder in ("tools", "tools/site"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": search}
    )
    assert done.stdout == f"{[len(generated(name)) for name in names]}\n", done.stderr


def test_pictures_of_one_name_do_not_take_each_others_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_site, "STAGED", tmp_path)
    files = [ROOT / "tools/results/serve.png", ROOT / "packages/mae-finetune/docs/serve.png"]
    paths: dict[Path, str] = {}
    build_site._add_files(files, paths)
    assert [(tmp_path / paths[file]).read_bytes() for file in files] == [file.read_bytes() for file in files]
