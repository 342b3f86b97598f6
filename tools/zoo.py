"""Write packages/mae-core/MODELS.md from model_zoo.yaml; parameters and MACs are computed by mae_core.models.cost."""

import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from mae_core.models import PRESETS
from mae_core.models.cost import (
    Cost,
    ModelSize,
    mae_macs,
    mae_macs_as_written,
    mae_parameters,
    vit_macs,
    vit_parameters,
)

DATA = Path(__file__).with_name("model_zoo.yaml")
PAGE = Path(__file__).resolve().parents[1] / "packages" / "mae-core" / "MODELS.md"
SIZES = tuple(name.removeprefix("vit_") for name in PRESETS if name.startswith("vit_"))
HOLDS = {
    "encoder": "encoder",
    "whole": "encoder and decoder",
    "ported": "encoder; decoder untrained",
    "classifier": "classifier",
    "probe": "linear probe",
}
HEAD = """\
# Models and weights

Written by `python3 tools/dev.py zoo` from `tools/model_zoo.yaml`; change that file, not this one. Parameters and MACs
(multiply-accumulates) are computed by `mae_core.models.cost`. **No accuracy on this page was measured by this
project**: each is quoted from the source named beside it. No weights are part of it, and it checks no link.
"""
COSTS = """\
Images of 224 pixels, 3 channels; positions are counted as parameters, fixed in pre-training. GMACs are of one image
and a forward pass: linear layers and attention products. "As written" embeds every patch and decodes every token, as
the official code does; "here" is what a training step of this package computes for the same loss and gradients.
"""
COMMANDS = """\
`mae-core convert` is only needed for use elsewhere: `-pretrained FILE` of every stage reads these files as they are.
Folders (Hugging Face, timm) are those that a download of the model gives, with `model.safetensors` or
`pytorch_model.bin` in them.
"""
CLAIMS = """\
PaddleViT counts parameters without position embeddings, and FLOPs (MACs) without the products of attention.
"""
UNTRAINED = """\
"Decoder untrained": PaddleViT's script reads the official encoder into a whole model and saves that. Fine-tune it, but
take pictures with another.
"""


def load_zoo(path: Path = DATA) -> dict[str, Any]:
    """Read the data."""
    zoo: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return zoo


def command(entry: dict[str, Any]) -> str:
    """Return the line that converts an entry's file to this package's format."""
    source = Path(entry["file"])
    stem = source.stem if source.suffix in (".pth", ".pdparams", ".pd") else source.name
    return shlex.join(["mae-core", "convert", entry["file"], f"{stem}.safetensors"])


def model_size(name: str) -> ModelSize:
    """Return the size of a preset, without a head."""
    sizes: dict[str, Any] = {k: v for k, v in PRESETS[f"vit_{name}"][1].items() if k != "num_heads"}
    return ModelSize(**sizes, num_classes=0)


def page(zoo: dict[str, Any]) -> str:
    """Return the whole page."""
    pretrained = [entry for entry in zoo["weights"] if "accuracy" not in entry]
    tuned = [entry for entry in zoo["weights"] if "accuracy" in entry]
    parts = [
        HEAD,
        "## Networks\n",
        COSTS,
        table(("pre-training", *_MAE_COLUMNS), map(_mae_row, SIZES)),
        table(("classifier", *_VIT_COLUMNS), (_vit_row(name, zoo["seed_claims"]) for name in SIZES)),
        CLAIMS,
        "## Pre-trained weights\n",
        COMMANDS,
        table(_WEIGHT_COLUMNS, (_weight_row(entry, zoo) for entry in pretrained)),
        UNTRAINED,
        "## Fine-tuned weights\n",
        table(_TUNED_COLUMNS, (_tuned_row(entry, zoo) for entry in tuned)),
        "## Published results\n",
        "Top-1 accuracy on ImageNet-1K, 224 pixels.\n",
        table(("evaluation", "source", "base", "large", "huge"), (_result_row(row, zoo) for row in zoo["results"])),
        "## Licences\n",
        "Converting weights does not change their licence.\n",
        table(
            ("weights of", "licence", "remark"),
            ((p["title"], p["licence"], p["says"]) for p in zoo["publishers"].values()),
        ),
    ]
    return "\n".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_MAE_COLUMNS = ("parameters", "trainable", "decoder side", "GMACs, 75 % masked, as written", "here")
_VIT_COLUMNS = ("parameters, 1000 classes", "in PaddleViT's README", "GMACs without head", "in PaddleViT's README")
_WEIGHT_COLUMNS = ("name", "from", "holds", "parameters", "licence", "links", "convert")
_TUNED_COLUMNS = ("name", "from", "top-1", "top-5", "as said by", "parameters", "licence", "links", "convert")


def _giga(number: int) -> str:
    return f"{number / 1e9:.2f}"


def _both(cost: Cost) -> str:
    return f"{_giga(cost.total)} = {_giga(cost.encoder)} + {_giga(cost.decoder)}"


def _mae_row(name: str) -> Iterator[str]:
    size = model_size(name)
    counts = mae_parameters(size)
    yield f"`mae_vit_{name}`"
    yield from (f"{n:,}" for n in (counts.total, mae_parameters(size, trainable=True).total, counts.decoder))
    yield from (_both(mae_macs_as_written(size)), _both(mae_macs(size)))


def _vit_row(name: str, claims: dict[str, Any]) -> Iterator[str]:
    claim = claims.get(name, {"params": "", "flops": ""})
    yield f"`vit_{name}`"
    yield from (_parameters("classifier", name), claim["params"], _giga(vit_macs(model_size(name))), claim["flops"])


def _parameters(holds: str, name: str) -> str:
    size = model_size(name)
    if holds in ("classifier", "probe"):
        return f"{vit_parameters(replace(size, num_classes=1000)):,}"
    counts = mae_parameters(size)
    return f"{counts.encoder if holds == 'encoder' else counts.total:,}"


def _licence_links_command(entry: dict[str, Any], zoo: dict[str, Any]) -> tuple[str, str, str]:
    links = "/".join(f"[{text}]({address})" for text, address in entry["links"].items())
    links += f", md5 {entry['md5']}..." if "md5" in entry else ""
    return zoo["publishers"][entry["by"]]["licence"], links, f"`{command(entry)}`"


def _weight_row(entry: dict[str, Any], zoo: dict[str, Any]) -> Iterator[str]:
    yield from (entry["name"], zoo["publishers"][entry["by"]]["title"], HOLDS[entry["holds"]])
    yield from (_parameters(entry["holds"], entry["size"]), *_licence_links_command(entry, zoo))


def _tuned_row(entry: dict[str, Any], zoo: dict[str, Any]) -> Iterator[str]:
    top1, top5, source = entry["accuracy"]
    yield from (entry["name"], zoo["publishers"][entry["by"]]["title"])
    yield from (top1, top5, zoo["sources"][source])
    yield from (_parameters(entry["holds"], entry["size"]), *_licence_links_command(entry, zoo))


def _result_row(row: dict[str, Any], zoo: dict[str, Any]) -> Iterator[str]:
    yield from (row["what"], zoo["sources"][row["source"]], *row["top1"])


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(load_zoo()), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
