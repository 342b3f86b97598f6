"""Flags in both spellings, strictness, and exit codes."""

import pytest

from mae_core.command_line import Flag, Parser, add_flags, flag_pairs, run
from mae_core.errors import CheckpointError, ConfigError, NonFiniteError, Stopped, UserError

FLAGS = (
    Flag("batch_size", "DATA.BATCH_SIZE", "images", int),
    Flag("cfg", None, "file"),
    Flag("amp", "AMP", "mixed", options={"action": "store_true"}),
)


def parse(*argv):
    parser = Parser(prog="tool")
    add_flags(parser, FLAGS)
    parser.add_argument("pairs", nargs="*")
    return parser.parse_intermixed_args(argv)


@pytest.mark.parametrize(
    "spelling", [["-batch_size", "8"], ["-batch_size=8"], ["--batch-size", "8"], ["--batch-size=8"]]
)
def test_both_spellings(spelling):
    assert flag_pairs(parse(*spelling, "-cfg=x"), FLAGS) == {"DATA.BATCH_SIZE": 8}


def test_pairs_may_stand_anywhere_and_absent_flags_set_nothing():
    args = parse("A.B", "1", "-amp", "C", "-2")
    assert args.pairs == ["A.B", "1", "C", "-2"]
    assert flag_pairs(args, FLAGS) == {"AMP": True}


@pytest.mark.parametrize("bad", [["-batch", "8"], ["-b", "8"], ["--batch", "8"], ["-batch_size", "x"], ["-unknown"]])
def test_abbreviations_and_unknown_flags_are_refused(bad):
    with pytest.raises(UserError, match="tool --help"):
        parse(*bad)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("why"), 2),
        (CheckpointError("why"), 4),
        (NonFiniteError("why"), 5),
        (Stopped("why", 143), 143),
    ],
)
def test_errors_become_one_line_and_an_exit_code(capsys, error, code):
    def main(argv):
        raise error

    assert run(main, []) == code
    assert capsys.readouterr().err == "error: why\n"
    assert run(main, ["--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_our_own_shows_its_traceback(capsys):
    assert run(lambda argv: 1 / 0, []) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert run(lambda argv: None, []) == 0
