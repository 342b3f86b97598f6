"""The fixtures that the tests of all stages share, and this stage's command line."""

import pytest
from stage_runs import PROBE, data, pretrained

__all__ = ["cli", "data", "pretrained"]


@pytest.fixture
def cli():
    """Run `mae-probe` as a user does; returns the finished process."""
    return PROBE.start
