"""The pip command for an extra names where the package is from."""

import importlib.metadata
import json

import pytest

from mae_core.process.installation import pip_install


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (None, '"tool[report]"'),  # from an index
        ({"url": "file://{folder}", "dir_info": {}}, '"{folder}[report]"'),
        ({"url": "file://{folder}", "dir_info": {"editable": True}}, '-e "{folder}[report]"'),
        ({"url": "file://{folder}/gone", "dir_info": {}}, '"tool[report]"'),
        (
            {"url": "https://host/mae", "vcs_info": {"vcs": "git"}, "subdirectory": "packages/tool"},
            '"tool[report] @ git+https://host/mae#subdirectory=packages/tool"',
        ),
    ],
)
def test_an_extra_is_installed_from_where_its_package_is_from(tmp_path, monkeypatch, origin, words):
    folder = tmp_path / "my clone"
    folder.mkdir()
    installed = tmp_path / "site" / "tool-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
    if origin:
        origin["url"] = origin["url"].replace("{folder}", str(folder).replace(" ", "%20"))
        (installed / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(str(installed.parent))
    assert importlib.metadata.version("tool") == "1.0"
    assert pip_install("tool", "report") == f"pip install {words}".replace("{folder}", str(folder))


def test_a_package_that_is_not_installed_is_asked_of_the_index():
    assert pip_install("nowhere-at-all", "x") == 'pip install "nowhere-at-all[x]"'
