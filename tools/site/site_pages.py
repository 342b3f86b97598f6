"""What the site is made of: which file of the repository becomes which page, in which order."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workspace import ROOT

HERE = Path(__file__).parent
SECTIONS = ("Start", "Guides", "Notebooks", "Results", "Reference", "API", "Design", "Packages", "Changes")


@dataclass(frozen=True)
class Page:
    """A page: the file it is made from, its path on the site, its place and name in the navigation."""

    source: Path
    path: str
    section: str
    title: str = ""  # the first heading where empty


# In the order to read and to run them: the first makes the run that the next two take.
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

# In the order of the navigation. Files of packages/*/docs that are not named here follow the guides by themselves.
_NAMED = [
    ("tools/site/pages/index.md", "index.md", "Start", "MAE for PaddlePaddle"),
    ("tools/site/pages/first_run.md", "first_run.md", "Start", ""),
    ("tools/site/pages/which.md", "which.md", "Start", ""),
    ("tools/site/pages/faq.md", "faq.md", "Start", ""),
    ("README.md", "overview.md", "Start", "Overview (README)"),
    ("packages/mae-data/docs/own_data.md", "", "Guides", ""),
    ("packages/mae-data/docs/sources.md", "", "Guides", ""),
    ("packages/mae-pretrain/docs/channels.md", "", "Guides", ""),
    ("packages/mae-probe/docs/small_data.md", "", "Guides", ""),
    ("packages/mae-probe/docs/segmentation.md", "guides/segmentation_of_patches.md", "Guides", ""),
    ("packages/mae-finetune/docs/segmentation.md", "", "Guides", ""),
    ("packages/mae-pretrain/docs/resuming.md", "", "Guides", ""),
    ("packages/mae-pretrain/docs/advice.md", "", "Guides", ""),
    ("packages/mae-pretrain/docs/schedules.md", "", "Guides", ""),
    ("packages/mae-pretrain/docs/several_machines.md", "", "Guides", ""),
    ("packages/mae-core/docs/reliability.md", "", "Guides", ""),
    ("packages/mae-pretrain/docs/reports.md", "", "Guides", ""),
    ("packages/mae-finetune/docs/labels_and_numbers.md", "", "Guides", ""),
    ("tools/site/pages/elsewhere.md", "guides/elsewhere.md", "Guides", ""),
    ("packages/mae-finetune/docs/export_and_serving.md", "", "Guides", ""),
    ("packages/mae-core/docs/migration.md", "", "Guides", ""),
    ("packages/mae-data/docs/security.md", "", "Guides", ""),
    ("tools/site/pages/results.md", "results.md", "Results", ""),
    ("packages/mae-core/MODELS.md", "models.md", "Results", ""),
    *((f"packages/mae-{name}/README.md", f"packages/mae-{name}.md", "Packages", f"mae-{name}")
      for name in ("core", "data", "pretrain", "finetune", "probe")),
    *((f"packages/mae-{name}/CHANGELOG.md", f"changes/mae-{name}.md", "Changes", f"mae-{name}")
      for name in ("core", "data", "pretrain", "finetune", "probe")),
    ("tools/site/pages/reference/commands.md", "reference/commands.md", "Reference", ""),
    ("tools/site/pages/reference/config_pretrain.md", "reference/config_pretrain.md", "Reference", ""),
    ("tools/site/pages/reference/config_refine.md", "reference/config_refine.md", "Reference", ""),
    ("tools/site/pages/reference/config_distill.md", "reference/config_distill.md", "Reference", ""),
    ("tools/site/pages/reference/config_finetune.md", "reference/config_finetune.md", "Reference", ""),
    ("tools/site/pages/reference/config_probe.md", "reference/config_probe.md", "Reference", ""),
    ("tools/site/pages/reference/exit_codes.md", "reference/exit_codes.md", "Reference", ""),
    ("tools/site/pages/reference/environment.md", "reference/environment.md", "Reference", ""),
    ("tools/site/pages/batch.md", "design/batch.md", "Design", ""),
    ("tools/site/pages/decisions.md", "design/decisions.md", "Design", ""),
    ("packages/mae-core/csrc/README.md", "design/operators.md", "Design", ""),
    ("packages/mae-data/csrc/README.md", "design/pixels.md", "Design", ""),
    ("packages/mae-core/docs/seams.md", "", "Design", ""),
    (".github/CONTRIBUTING.md", "contributing.md", "Design", "Contributing"),
    ("tools/README.md", "tools.md", "Design", "tools/dev.py"),
    (".github/SECURITY.md", "security_policy.md", "Design", ""),
]  # fmt: skip


def pages() -> list[Page]:
    """List all pages but those of the API and the notebooks."""
    named = [Page(ROOT / source, path or _guide_path(ROOT / source), *rest) for source, path, *rest in _NAMED]
    known = {page.source for page in named}
    more = [file for file in sorted(ROOT.glob("packages/*/docs/*.md")) if file not in known]
    last = max(place for place, page in enumerate(named) if page.section == "Guides") + 1
    return [*named[:last], *(Page(file, _guide_path(file), "Guides") for file in more), *named[last:]]


def notebooks() -> list[Page]:
    """List the notebooks."""
    return [Page(file, f"notebooks/{file.stem}.md", "Notebooks") for file in NOTEBOOKS]


def _guide_path(file: Path) -> str:
    return f"guides/{file.stem}.md"


def first_heading(text: str) -> str:
    """Return the first heading of a page, without markup."""
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return found[1].replace("`", "") if found else ""


# Folders of the API, each a page: its modules one after the other.
_ROOMS = ("", "models", "ops", "training", "weights", "evaluation", "export", "report", "stage")


def api_pages() -> Iterator[tuple[str, str, list[str]]]:
    """Yield path, title and modules of each page of the API."""
    core = ROOT / "packages/mae-core/src/mae_core"
    for room in _ROOMS:
        name = ".".join(filter(None, ("mae_core", room)))
        yield f"api/{name}.md", name, _modules(core / room)
    for package in ("mae_data", "mae_pretrain", "mae_finetune", "mae_probe"):
        folder = ROOT / "packages" / package.replace("_", "-") / "src" / package
        below = [folder / "sources"] if package == "mae_data" else []
        yield f"api/{package}.md", package, [name for part in (folder, *below) for name in _modules(part)]


def _modules(folder: Path) -> list[str]:
    files = sorted(file for file in folder.glob("*.py") if file.stem not in ("__main__",))
    files.sort(key=lambda file: file.stem != "__init__")
    parts = [file.with_suffix("").parts for file in files]
    return [".".join(part[part.index("src") + 1 :]).removesuffix(".__init__") for part in parts]
