"""The fixtures that the tests of all stages share, and this stage's command line."""

import pytest
from stage_runs import FINETUNE, data, pretrained

__all__ = ["cli", "data", "pretrained"]


@pytest.fixture
def cli():
    """Run `mae-finetune` as a user does; returns the finished process."""
    return FINETUNE.start
