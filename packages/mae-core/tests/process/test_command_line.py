"""Flags in both spellings, strictness, and exit codes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mae_core.errors import CheckpointError, ConfigError, NonFiniteError, Stopped, UserError
from mae_core.process.command_line import Flag, Parser, add_flags, flag_pairs, run

FLAGS = (
    Flag("batch_size", "DATA.BATCH_SIZE", "images", int),
    Flag("cfg", None, "file"),
    Flag("amp", "AMP", "mixed", switch=True),
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


def test_ctrl_c_is_one_line(capsys):
    def interrupted(argv):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    def swallowed(argv):
        try:
            interrupted(argv)
        except KeyboardInterrupt:
            raise SystemError("returned a result with an exception set") from None  # as compiled code does

    for main in (interrupted, swallowed):
        assert run(main, []) == 130
        assert capsys.readouterr().err == "interrupted by Ctrl-C\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_inside_text_that_is_executed_ends_with_the_code_too():
    # there Python notes that it was not caught, and ends the process by SIGINT after all
    script = """
import atexit, sys, mae_core.process.command_line as command_line
def main(argv):
    atexit.register(print, "tidied up")
    exec("raise KeyboardInterrupt")
sys.exit(command_line.run(main))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (130, "tidied up\n", "interrupted by Ctrl-C\n")


def test_a_message_cannot_control_the_terminal(capsys):
    def main(argv):
        raise ConfigError("file \x1b[2Jname\r ü")

    assert run(main, []) == 2
    assert capsys.readouterr().err == "error: file ?[2Jname? ü\n"


@pytest.mark.parametrize("bad", [["-cfg", ""], ["-cfg="]])
def test_an_empty_name_is_refused(bad):
    with pytest.raises(UserError, match="an empty text names nothing"):
        parse(*bad)


def test_errors_of_libraries_may_be_explained(capsys):
    def main(argv):
        raise MemoryError("no more")

    assert run(main, [], lambda error: ConfigError(f"lower this: {error}")) == 2
    assert capsys.readouterr().err == "error: lower this: no more\n"
    assert run(main, ["--debug"], lambda error: ConfigError("lower this")) == 2
    assert "Traceback" in capsys.readouterr().err


PROGRAM = """
import sys
from mae_core.process.command_line import run
from mae_core.errors import UserError
def main(argv):
    print("x" * int(argv[0]))
    if argv[1:]:
        raise UserError("why")
sys.exit(run(main))
"""


@pytest.mark.parametrize(
    ("redirect", "args", "code", "said"),
    [
        (">/dev/full", "1", 2, "error: standard output cannot be written (No space left on device)\n"),
        (">/dev/full", "99999", 2, "error: standard output cannot be written (No space left on device)\n"),
        (">/dev/full", "1 fail", 2, "error: standard output cannot be written (No space left on device)\nerror: why\n"),
        ("| true", "999999", 141, ""),
        (">&-", "1", 0, ""),
        (">&-", "1 fail", 2, "error: why\n"),
        ("2>&-", "1 fail", 2, ""),
        (">&- 2>&- <&-", "1 fail", 2, ""),
        (">/dev/full 2>/dev/full", "1 fail", 2, ""),
    ],
)
def test_closed_and_full_streams(redirect, args, code, said):
    command = f'set -o pipefail; "$0" -c "$1" {args} {redirect}'
    for unbuffered in ("", "1")[: 1 if "fail" in args else 2]:
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        words = ["bash", "-c", command, sys.executable, PROGRAM]
        result = subprocess.run(words, capture_output=True, text=True, env=env)
        assert (result.returncode, result.stderr) == (code, said)


def test_a_slip_of_a_subcommand_is_named_and_keys_and_paths_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = Parser(run=lambda args: None, prog="tool")
    parser.add_argument("pairs", nargs="*")
    for name in ("serve", "report"):
        parser.add_command(name, lambda args: None, "do it")
    with pytest.raises(UserError, match="'serv' is no command; nearest is serve; see tool --help"):
        parser.start(["serv", "runs/photos"])
    (tmp_path / "reports").mkdir()
    for first in ("reports", "SEED", "SERVE"):
        parser.start([first, "1"])
