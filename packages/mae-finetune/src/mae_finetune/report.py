"""`mae-finetune report`: the page of a fine-tuning run."""

from collections.abc import Sequence

from mae_core.report.page import Page
from mae_core.report.run_files import read_run
from mae_finetune.tasks import task_named


def run_page(folder: str, compare: Sequence[str] = ()) -> Page:
    """Put the page of a run together, as its task does."""
    recorded = read_run(folder).config.get("MODEL", {})
    return task_named(recorded.get("TASK", "classify")).page(folder, compare)
