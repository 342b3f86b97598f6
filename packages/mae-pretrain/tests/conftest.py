"""The fixtures that the tests of all stages share, and this stage's command line."""

import pytest
from stage_runs import PRETRAIN, data

__all__ = ["cli", "data"]


@pytest.fixture
def cli():
    """Run `mae-pretrain` as a user does; returns the finished process."""
    return PRETRAIN.start
