"""The documentation site: which files are on it, how links are turned, what is written from the code."""

import re
from pathlib import Path

import pytest
import yaml

from build_site import described
from site_commands import commands_page, parsers
from site_links import include_sections, linked_files, rewrite_links, section
from site_pages import SECTIONS, api_pages, first_heading, notebooks, pages
from site_reference import config_keys, exit_codes, generated
from workspace import ROOT, WorkspaceError

README, SOURCES = ROOT / "README.md", ROOT / "packages/mae-data/docs/sources.md"
PATHS = {page.source: page.path for page in pages()}


def test_every_page_is_there_once_and_has_a_heading() -> None:
    found = [*pages(), *notebooks()]
    assert len({page.path for page in found}) == len(found)
    assert {page.section for page in found} <= set(SECTIONS)
    assert [page.path for page in pages() if not first_heading(page.source.read_text(encoding="utf-8"))] == []


def test_new_guides_follow_by_themselves() -> None:
    assert set(ROOT.glob("packages/*/docs/*.md")) <= PATHS.keys()


def test_every_public_module_is_in_the_api() -> None:
    listed = [module for _, _, modules in api_pages() for module in modules]
    assert len(listed) == len(set(listed)) > 100
    assert {"mae_core.ops.random_masking", "mae_data.sources.source", "mae_pretrain", "mae_probe.lars"} <= set(listed)


def test_links_between_files_become_links_between_pages() -> None:
    text = "[s](security.md#images) [r](../../../README.md) [a](#tar-shards) [w](https://x.y/z.md)\n```\n[no](no.md)\n```\n"
    turned = rewrite_links(text, SOURCES, "guides/sources.md", PATHS)
    assert turned == text.replace("../../../README.md", "../index.md")
    assert rewrite_links("[d](packages/mae-core)", README, "index.md", PATHS) == "[d](packages/mae-core.md)"


@pytest.mark.parametrize("target", ["gone.md", "../LICENSE", "../../mae-core/src"])
def test_a_link_to_nowhere_is_refused_by_name(target: str) -> None:
    with pytest.raises(WorkspaceError, match=r"packages/mae-data/docs/sources\.md: .*is no page"):
        rewrite_links(f"[x]({target})", SOURCES, "guides/sources.md", PATHS)


def test_pictures_go_along() -> None:
    assert ROOT / "tools/results/learning_curve.png" in linked_files(README.read_text(encoding="utf-8"), README)


def test_sections_are_included_without_what_follows() -> None:
    text = "# T\n\n## A b: c\n\none\n\n### In\n\n```\n## no heading\n```\n\n## Next\n\nother\n"
    assert section(text, "a-b-c") == "one\n\n### In\n\n```\n## no heading\n```"
    with pytest.raises(WorkspaceError, match="no heading #gone"):
        section(text, "gone")
    included = include_sections("<!-- include: README.md#pre-train -->", "design/x.md", PATHS)
    assert "](../packages/mae-pretrain.md)" in included


def test_a_page_is_described_by_its_first_paragraph() -> None:
    code = "```\ncode\n\nmore\n```\n"
    text = f'# T\n\n<!-- not run: x -->\n{code}\n**Bold** `code` and\na [link](x.md), "so".\n\nNext\n'
    head = '---\ndescription: "Bold code and a link, &quot;so&quot;."\n---\n\n'
    assert described(text) == head + text
    assert described(f"# T\n\n{code}") == f"# T\n\n{code}"


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


def test_what_is_generated_is_known() -> None:
    for page in pages():
        if "tools/site/pages" in str(page.source):
            for line in page.source.read_text(encoding="utf-8").splitlines():
                if line.startswith("<!-- generated: "):
                    assert generated(line.removeprefix("<!-- generated: ").removesuffix(" -->"))


def test_nothing_is_fetched_from_elsewhere() -> None:
    settings = yaml.safe_load((ROOT / "tools/site/mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["theme"]["font"] is False
    assert settings["strict"] is True
    styles = [file.read_text(encoding="utf-8") for file in Path(ROOT / "tools/site/assets").iterdir()]
    assert not any("http" in style for style in styles)
