"""`mae-finetune export`: the classifier as a folder that a server runs."""

from functools import partial
from os import PathLike
from pathlib import Path

import paddle

from mae_core.errors import UserError
from mae_core.export import FORMATS, MIN_AGREEMENT, format_for
from mae_core.export.model_folder import check_export, export_model
from mae_core.export.narrowing import narrowing_on
from mae_core.export.ports import image_facts, images_port
from mae_core.export.program import Signature
from mae_core.process import log
from mae_core.stage.classifier import require_weights
from mae_core.stage.config.from_weights import Opened, load_config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_data_arguments import input_of
from mae_data.loading.preprocess import ModelInput
from mae_data.transforms.pipelines import EvalTransform
from mae_finetune import __version__
from mae_finetune.build import build_model, load_for_evaluation
from mae_finetune.config import RECIPE
from mae_finetune.tasks import task_of


def export_classifier(
    pretrained: str | PathLike[str],
    output: str | PathLike[str],
    *,
    file_format: str | None = None,
    narrow: str | None = None,
    min_agreement: float = MIN_AGREEMENT,
    data: str | PathLike[str] | None = None,
    cfg: str | None = None,
    class_names: str | PathLike[str] | None = None,
) -> str:
    """Write a fine-tuned run as a folder that a server runs, as `mae-finetune export` does.

    Args:
        pretrained: run folder, checkpoint folder or weight file.
        output: folder to write; an earlier export is replaced.
        file_format: "paddle" for Paddle inference, or "onnx"; by default what `narrow` needs, or else "paddle".
        narrow: "int8", "int8-static" or "bfloat16", ONNX in fewer bits; None: float32.
        min_agreement: the least share of validation images, from 0 to 1, in which such a file must predict as float32.
        data: where these images lie, if not where they lay in training.
        cfg: YAML config, for weights that carry none.
        class_names: file of a name a line, for weights that carry none.

    Returns:
        what was written and how close it is to the model, for people.

    Raises:
        UserError: settings, folder or packages do not allow it.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    if format_for(file_format, narrow) not in FORMATS:
        raise UserError(f"file_format={file_format!r} is not known; use {' or '.join(FORMATS)}")
    flags = {"MODEL.PRETRAINED": str(pretrained)}
    optional = {"DATA.CLASS_NAMES": class_names, "DATA.DATA_PATH": data}
    flags |= {key: str(value) for key, value in optional.items() if value is not None}
    opened, device = load_config(RECIPE, cfg, flags, whole=True, say=log.LOGGER.debug), paddle.get_device()
    try:
        return export(opened, str(output), file_format, narrow, min_agreement)
    finally:
        paddle.set_device(device)


def export(
    opened: Opened,
    output: str | None,
    file_format: str | None = None,
    narrow: str | None = None,
    min_agreement: float = MIN_AGREEMENT,
) -> str:
    """Write the classifier of a run.

    Args:
        opened: the config of the run, and its weights.
        output: folder; None: `exported`.
        file_format, narrow, min_agreement: see `export_classifier`.

    Returns:
        what was written and how close it is to the model, for people.

    Raises:
        UserError: settings, folder or packages do not allow it.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    config, folder = opened.config, Path(output or "exported")
    file_format, data = format_for(file_format, narrow), config.DATA
    check_export(folder, file_format, narrow)
    log.setup()
    task = task_of(config)
    open_list = partial(task.eval_dataset, config)
    narrowing = narrowing_on(data.VAL_LIST, data.TRAIN_LIST, open_list, narrow, min_agreement)
    paddle.set_device("cpu")  # a graph drawn for a GPU holds its attention kernels
    model = build_model(config)
    weights = require_weights(opened.weights)
    load_for_evaluation(config, weights, model)
    signature = Signature(lambda images: (model(images),), [images_port(model)], [task.output(config)])
    with values_from_config():
        shown = ModelInput(**input_of(config)).transform
    assert isinstance(shown, EvalTransform)
    facts = {
        "command": f"mae-finetune {__version__}",
        "model": config.MODEL.NAME,
        **image_facts(model, shown.crop_pct),
        **task.facts(config, model),
    }
    measured = export_model(folder, file_format, model, signature, facts, weights, narrowing)
    return "\n".join(f"{folder}: {line}" for line in measured.lines())
