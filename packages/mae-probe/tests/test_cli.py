import subprocess
import sys

import pytest

from mae_probe import __version__, cli


@pytest.mark.parametrize("flag", ["--help", "-h", "--version"])
def test_help_and_version_say_that_there_is_no_training(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([flag])
    out, err = capsys.readouterr()
    assert stop.value.code == 0
    assert err == ""
    assert __version__ in out
    assert "contains no" in out


@pytest.mark.parametrize(
    "request_line",
    [
        ["-cfg", "configs/base.yaml", "-dataset", "imagenet2012", "-eval", "-amp"],
        ["--batch-size", "32"],
        ["train"],
        ["--hel"],
        ["-version"],
        ["-data_path", "a folder"],
    ],
)
def test_a_request_is_named_and_refused_in_one_line(
    request_line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(request_line) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert all(word in err for word in request_line)
    assert f"release {__version__} contains no linear probing yet" in err
    assert "`mae-pretrain --help`" in err


def test_nothing_asked_is_refused_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert (
        capsys.readouterr().err == f"mae-probe: release {__version__} contains no linear probing yet; {cli.INSTEAD}\n"
    )


def test_paddle_stays_out() -> None:
    code = "import sys, mae_probe.cli; sys.exit('paddle' in sys.modules or 'mae_core' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
