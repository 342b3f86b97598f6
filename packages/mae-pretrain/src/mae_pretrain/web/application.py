"""What `mae-pretrain serve` answers, and the page that asks."""

import sys
from contextlib import nullcontext
from functools import partial

from mae_core.process import stdio
from mae_core.report.image_server import Answers, Asked, File, ImageServer, asked_number
from mae_core.report.queue import Around
from mae_core.training.precision import Precision, RoundedWeights
from mae_pretrain.web.served_model import Reconstructed, ServedModel

_FILES: dict[str, File] = {
    "/": ("mae_pretrain.web", "page/index.html", "text/html; charset=utf-8"),
    "/page.js": ("mae_pretrain.web", "page/page.js", "text/javascript; charset=utf-8"),
    "/patches.js": ("mae_pretrain.web", "page/patches.js", "text/javascript; charset=utf-8"),
}


class Application(ImageServer):
    """Answers requests for one model.

    Args:
        model: what computes the answers.
        host, around: see `ImageServer`.
    """

    def __init__(self, model: ServedModel, host: str, around: Around = nullcontext) -> None:
        answers: Answers = {
            "/reconstruct": partial(_reconstruct, model),
            "/attend": lambda data, asked: model.attend(data),
            "/classify": lambda data, asked: model.classify(data),
        }
        super().__init__(answers, {**model.describe()}, _FILES, host, around)


def _reconstruct(model: ServedModel, data: bytes, asked: Asked) -> Reconstructed:
    ratio = asked_number(asked, "ratio", 0.75, lambda x: 0 < x < 1, "above 0 and below 1")
    seed = asked_number(asked, "seed", 0, lambda x: 0 <= x < 2**63 and x == int(x), "a whole number from 0")
    return model.reconstruct(data, ratio, int(seed), asked.get("removed", [""])[0])


def serve_model(path: str, host: str, port: int, amp: bool = False) -> None:
    """Serve a model until Ctrl-C."""
    precision = Precision(True, info=lambda line: stdio.print_line(line, sys.stderr)) if amp else Precision(False)
    around = partial(precision.autocast, RoundedWeights())
    Application(ServedModel.load(path), host, around).run(port, f"shows {path}")
