"""What a run leaves beside its weights: `provenance.json` from its first step, `MODEL_CARD.md` at its end."""

from collections.abc import Iterator
from contextlib import contextmanager

from mae_core.files import write_atomic
from mae_core.process.log import LOGGER
from mae_core.report.run_files import read_run
from mae_core.stage.config.node import Config
from mae_core.stage.run.model_card import model_card
from mae_core.training.engine import Trainer
from mae_core.training.provenance import recorded


@contextmanager
def documented(trainer: Trainer, config: Config) -> Iterator[None]:
    """Record what runs while it runs; a run that ends well gets its model card. Neither ever ends a run."""
    folder = trainer.folder.path if trainer.folder else None
    with recorded(folder, trainer.step, {"run": config.SEED}) as entry:
        entry["weights"] = config.MODEL.PRETRAINED or ""
        yield
    if folder is None:
        return
    try:
        card = model_card(read_run(folder), trainer.data.get("train") or {})
        write_atomic(folder / "MODEL_CARD.md", card.encode("utf-8", "replace"))
    except Exception as error:  # the weights are what counts
        LOGGER.warning(f"{folder / 'MODEL_CARD.md'} cannot be written ({error})")
