"""What a run can predict of an image, by MODEL.TASK; this module does not need Paddle."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mae_core.stage.config.node import Config
    from mae_finetune.tasks.task import Task

# The module of each task, which holds it as TASK.
TASKS = {
    "classify": "classification",
    "multilabel": "multilabel",
    "regress": "regression",
    "segment": "segmentation",
}


def task_of(config: "Config") -> "Task":
    """Return the task of a config."""
    return task_named(config.MODEL.TASK)


def task_named(name: str) -> "Task":
    """Return the task that MODEL.TASK calls so."""
    task: Task = import_module(f"{__name__}.{TASKS[name]}").TASK
    return task
