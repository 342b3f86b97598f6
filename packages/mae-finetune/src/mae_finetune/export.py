"""`mae-finetune export`: the classifier as a folder that a server runs."""

from os import PathLike
from pathlib import Path
from typing import Any

import paddle

from mae_core.errors import UserError
from mae_core.export import FORMATS
from mae_core.export.model_folder import check_export, export_model
from mae_core.export.ports import Port, image_facts, images_port
from mae_core.export.program import Signature
from mae_core.models import VisionTransformer
from mae_core.process import log
from mae_core.stage.config.from_weights import Opened, load_config
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import input_of
from mae_data.loading.preprocess import ModelInput
from mae_data.transforms.pipelines import EvalTransform
from mae_finetune import __version__
from mae_finetune.build import build_model, load_for_evaluation
from mae_finetune.class_names import names_of
from mae_finetune.config import RECIPE


def export_classifier(
    pretrained: str | PathLike[str],
    output: str | PathLike[str],
    *,
    file_format: str = "paddle",
    cfg: str | None = None,
    class_names: str | PathLike[str] | None = None,
) -> str:
    """Write a fine-tuned run as a folder that a server runs, as `mae-finetune export` does.

    Args:
        pretrained: run folder, checkpoint folder or weight file.
        output: folder to write; an earlier export is replaced.
        file_format: "paddle" for Paddle inference, or "onnx".
        cfg: YAML config, for weights that carry none.
        class_names: file of a name a line, for weights that carry none.

    Returns:
        what was written and how close it is to the model, for people.

    Raises:
        UserError: settings, folder or packages do not allow it.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    if file_format not in FORMATS:
        raise UserError(f"file_format={file_format!r} is not known; use {' or '.join(FORMATS)}")
    flags = {"MODEL.PRETRAINED": str(pretrained)}
    if class_names is not None:
        flags["DATA.CLASS_NAMES"] = str(class_names)
    opened, device = load_config(RECIPE, cfg, flags, whole=True, say=log.LOGGER.debug), paddle.get_device()
    try:
        return export(opened, str(output), file_format)
    finally:
        paddle.set_device(device)


def export(opened: Opened, output: str | None, file_format: str) -> str:
    """Write the classifier of a run.

    Args:
        opened: the config of the run, and its weights.
        output: folder; None: `exported`.
        file_format: `paddle` or `onnx`.

    Returns:
        what was written and how close it is to the model, for people.

    Raises:
        UserError: settings, folder or packages do not allow it.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    config, folder = opened.config, Path(output or "exported")
    check_export(folder, file_format)
    log.setup()
    paddle.set_device("cpu")  # a graph drawn for a GPU holds its attention kernels
    model = build_model(config)
    report = load_for_evaluation(config, opened.weights, model)
    parity = export_model(
        folder,
        file_format,
        model,
        _signature(model, config.MODEL.NUM_CLASSES),
        _facts(config, model),
        report.file,
    )
    return f"{folder}: {parity.line()}"


def _signature(model: VisionTransformer, classes: int) -> Signature:
    logits = Port("logits", (classes,), "float32", "softmax gives probabilities")
    return Signature(lambda images: (model(images),), [images_port(model)], [logits])


def _facts(config: Config, model: VisionTransformer) -> dict[str, Any]:
    names = names_of(config, model)
    if names is None:
        log.LOGGER.warning("no names of the classes are known: export.json has none; DATA.CLASS_NAMES FILE names them")
    with values_from_config():
        shown = ModelInput(**input_of(config)).transform
    assert isinstance(shown, EvalTransform)
    return {
        "command": f"mae-finetune {__version__}",
        "model": config.MODEL.NAME,
        **image_facts(model, shown.crop_pct),
        "classes": config.MODEL.NUM_CLASSES,
        "class_names": names,
    }
