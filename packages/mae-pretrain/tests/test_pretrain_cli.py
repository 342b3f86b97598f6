"""The subcommands' errors as a user meets them."""

import json

import pytest
from PIL import Image
from stage_runs import assert_refused

from mae_pretrain.cli import main


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


@pytest.fixture
def run(tmp_path):
    """A run folder's log: a training record and a validation's."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_log(folder, {"loss": 1.0, "lr": 0.1}, {"val_loss": 2.0, "top1": 50.0})
    return folder


def write_log(folder, *records):
    lines = [json.dumps({"step": 1, "epoch": 0.5, **record}) + "\n" for record in records]
    (folder / "log.jsonl").write_text("".join(lines))


@pytest.mark.parametrize(("output", "words"), [("file/x.png", "cannot be written"), ("folder", "is a folder")])
@pytest.mark.parametrize("command", ["visualize", "curve"])
def test_an_output_that_cannot_be_written_is_refused(run, pretrained, tmp_path, capsys, command, output, words):
    """Before the model's work: there is no image."""
    if command == "curve":
        pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder").mkdir()
    inputs = {"visualize": ["-pretrained", f"{pretrained}", "x.jpg"], "curve": [str(run)]}
    assert main([command, *inputs[command], "-output", f"{tmp_path}/{output}"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "rror" in line]
    assert line.startswith(f"error: {tmp_path}/{output} {words}")
    assert "-output" in line


def test_the_curve_leaves_records_of_validations_out(run, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    assert main(["curve", str(run)]) == 0
    with Image.open(run / "loss.png") as picture:
        assert picture.width == 960
    write_log(run, {"top1": 50.0})
    assert main(["curve", str(run)]) == 2
    assert "no records of training" in capsys.readouterr().err
