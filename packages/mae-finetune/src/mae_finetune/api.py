"""Fine-tuning and prediction as one call: the same as `mae-finetune`'s."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mae_core.process import log
from mae_core.stage.config.from_call import config_of_call
from mae_core.stage.config.from_weights import load_config
from mae_core.training.engine import Trainer
from mae_data.loading.preprocess import Images
from mae_data.sources.open_source import open_source
from mae_finetune.config import RECIPE
from mae_finetune.prediction.predictor import BATCH_SIZE
from mae_finetune.prediction.results import Said
from mae_finetune.tasks import task_of
from mae_finetune.train import train


def finetune(
    data: str | PathLike[str],
    *,
    output: str | PathLike[str],
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    pretrained: str | PathLike[str] | None = None,
    num_classes: int | None = None,
    resume: str | PathLike[str] | None = None,
    cfg: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Trainer:
    """Fine-tune a classifier on a folder of labelled images (paper section 4 and Table 9).

    What is not given is as in the config, or else as in the recipe of the paper (Table 9).

    Args:
        data: folder with a folder for each class, or with lists, or another source that `-data_path` takes.
        output: run folder: log, config, checkpoints.
        model: such as "vit_tiny_patch16", a name of `mae_core.PRESETS`.
        epochs: passes over the data; the warm-up keeps its share of them.
        batch_size: images per rank and forward pass.
        image_size: pixels, one number or (height, width), of whole patches.
        pretrained: weights to start from, of any source.
        num_classes: outputs; by default as many as the training images have classes, unless cfg or settings set it.
        resume: run or checkpoint folder to go on from; "auto": `output`, or anew where it holds none.
        cfg: YAML config: a file, or the name of a packaged one.
        settings: values by dotted config key, over all else: {"TRAIN.BASE_LR": 1e-3}.

    Returns:
        the trainer at the end of its plan; its `model` holds the weights.

    Raises:
        UserError: arguments, data, checkpoint or loss that a run cannot go on with.
    """
    counted = {"MODEL.NUM_CLASSES", "MODEL.TASK"}.isdisjoint(settings or {})  # a label of other tasks counts none
    if num_classes is None and cfg is None and counted:
        num_classes = open_source(data).num_classes
    opened = config_of_call(
        RECIPE,
        cfg,
        settings,
        model=model,
        data=data,
        output=output,
        epochs=epochs,
        batch_size=batch_size,
        image_size=image_size,
        pretrained=pretrained,
        resume=resume,
        num_classes=num_classes,
    )
    return train(opened)


def predict(
    pretrained: str | Path,
    images: Images,
    *,
    topk: int | None = None,
    batch_size: int = BATCH_SIZE,
    num_workers: int = 0,
    cfg: str | None = None,
    class_names: str | Path | None = None,
) -> list[Said]:
    """Ask a fine-tuned run about images.

    Args:
        pretrained: run folder, checkpoint folder or weight file that lies in one.
        images: one or several paths, PIL images or uint8 arrays; see `mae_data.preprocess`.
        topk, batch_size, num_workers: see `Predictor.predict`.
        cfg: YAML config, for weights that carry none.
        class_names: file of a name a line, for weights that carry none.

    Returns:
        what the task says of each image: of classes, a `Prediction`.

    Raises:
        UserError: weights, config or names that cannot be used.
        DataError: an image that cannot be read.
    """
    flags = {"MODEL.PRETRAINED": str(pretrained)}
    if class_names is not None:
        flags["DATA.CLASS_NAMES"] = str(class_names)
    opened = load_config(RECIPE, cfg, flags, whole=True, say=log.LOGGER.debug)
    return list(task_of(opened.config).predictor(opened).predict(images, topk, batch_size, num_workers))
