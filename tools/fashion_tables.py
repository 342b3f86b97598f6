"""The tables of Fashion-MNIST in packages/mae-probe/docs/small_data.md, made of the records that fashion.py wrote."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

Records = Sequence[dict[str, Any]]

LABELS = ("10", "100", "1000", "all")  # of each class
POOLS = ("class", "mean", "grid2", "grid4")
PRETRAININGS = {
    "f8": "8 epochs",
    "f8amp": "8 epochs, bfloat16",
    "f32": "32 epochs, bfloat16",
    "f72": "72 epochs, bfloat16",
    "r72": "72 epochs, refined",
}
WEIGHTS = {**PRETRAININGS, "random": "random init"}
MARKS = ("<!-- tables of tools/fashion.py -->", "<!-- end of tables -->")


def write_page(records: Records, page: Path | None) -> None:
    """Print the tables, and put them between the marks of a page where one is named."""
    tables = tables_of(records)
    print(f"\n{tables}")
    if page:
        before, rest = page.read_text(encoding="utf-8").split(MARKS[0])
        page.write_text(f"{before}{MARKS[0]}\n{tables}{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")


def tables_of(records: Records) -> str:
    """Return the table of kNN and that of few labels, as Markdown."""
    found = figures_of(records)
    return f"\n{_knn_table(found)}\n{_label_table(found)}\n"


def figures_of(records: Records) -> dict[tuple[str, str], list[float]]:
    """Return the accuracies of all seeds by step and by what was scored in it."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        for what, top1 in record["top1"].items():
            found[record["step"], what].append(top1)
    return found


def cell(values: Sequence[float]) -> str:
    """Return mean and standard deviation over seeds; of one seed its figure alone."""
    if not values:
        return "-"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _knn_table(found: dict[tuple[str, str], list[float]]) -> str:
    measured = [name for name in WEIGHTS if (f"knn {name}", "mean") in found]
    header = [words for name in measured for words in (WEIGHTS[name], "`--whiten`")]
    rows = [
        [f"`--pool {pool}`"]
        + [cell(found.get((f"knn {name}", pool + end), ())) for name in measured for end in ("", " whitened")]
        for pool in POOLS
    ]
    pixels = next((found[f"knn {name}", "raw pixels"][:1] for name in measured), [])
    rows.append(["raw pixels", cell(pixels)] + [""] * (len(header) - 1))
    return _markdown(["kNN, k = 10, all labels", *header], rows)


def _label_table(found: dict[tuple[str, str], list[float]]) -> str:
    rows = [_label_row(found, "logistic, raw pixels", "logistic pixels {}", "raw pixels")]
    for name in ("random", *PRETRAININGS):
        for pool in ("mean", "grid2"):
            rows.append(_label_row(found, f"logistic, `--pool {pool}`, {WEIGHTS[name]}", f"logistic {name} {{}}", pool))
        for head in ("linear", "attentive"):
            rows.append(_label_row(found, f"{head} head, {WEIGHTS[name]}", f"{head} {name}"))
    for name, words in {"scratch": "from scratch", **PRETRAININGS}.items():
        words = words if name == "scratch" else f"fine-tuned, {words}"
        rows.append(_label_row(found, words, f"finetune {name} {{}}"))
    return _markdown(
        ["labels per class", "10", "100", "1,000", "6,000 (all)"], [row for row in rows if set(row[1:]) != {"-"}]
    )


def _label_row(found: dict[tuple[str, str], list[float]], title: str, step: str, what: str = "") -> list[str]:
    """Return a row of LABELS; a step without a place for them was measured with all."""
    return [title, *(cell(found.get((step.format(labels), what or labels), ())) for labels in LABELS)]


def _markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    first, *others = ("|".join(["", *(f" {cell} " if cell else " " for cell in row), "\n"]) for row in (header, *rows))
    return f"{first}{'|---' * (first.count('|') - 1)}|\n{''.join(others)}"
