"""The fixtures that the tests of all stages share, and this stage's command line."""

import pytest
from stage_runs import PRETRAIN, data, pretrained

__all__ = ["cli", "data", "pretrained"]


@pytest.fixture
def cli():
    """Run `mae-pretrain` as a user does; returns the finished process."""
    return PRETRAIN.start
