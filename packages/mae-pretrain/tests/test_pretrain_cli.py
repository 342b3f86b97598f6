"""The subcommands' errors as a user meets them."""

import pytest
from stage_runs import assert_refused


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["visualize", "x.jpg"], 2, ["-pretrained"]),
        (["visualize", "-pretrained", "/nowhere", "x.jpg"], 4, ["/nowhere"]),
        (["curve", "/nowhere"], 2, ["/nowhere", "log.jsonl"]),
    ],
)
def test_user_errors_are_one_line(cli, args, code, words):
    assert_refused(cli(*args), code, words)
