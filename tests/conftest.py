"""The fixtures that the tests of all stages share."""

from stage_runs import data, pretrained

__all__ = ["data", "pretrained"]
