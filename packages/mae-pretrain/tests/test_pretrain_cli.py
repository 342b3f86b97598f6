"""The command line: flags, help, and errors as a user meets them."""

import subprocess
import sys
import time

import pytest

from mae_pretrain.cli import train_parser

FLAGS = "cfg dataset data_path batch_size image_size accum_iter output pretrained resume eval amp"


def test_the_flag_set_is_pinned_in_both_spellings():
    spellings = {s for action in train_parser()._actions for s in action.option_strings}
    names = FLAGS.split()
    expected = {f"-{n}" for n in names} | {f"--{n.replace('_', '-')}" for n in names}
    assert spellings == expected | {"-h", "--help", "--version", "--allow-drift"}


@pytest.mark.parametrize("command", [[], ["visualize"], ["curve"], ["export"]])
def test_help_answers_without_paddle(command):
    code = (
        "import sys; from mae_pretrain.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "assert 'paddle' not in sys.modules and 'matplotlib' not in sys.modules, 'heavy import'"
    )
    started = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "usage: mae-pretrain" in result.stdout
    assert time.perf_counter() - started < 5.0  # about 0.2 s on an idle machine


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["-batch", "8"], 2, ["-batch", "--help"]),
        (["-cfg", "nowhere.yaml"], 2, ["nowhere.yaml", "vit_base_patch16_224_pretrain.yaml"]),
        (["DATA.BATCH_SIZE"], 2, ["DATA.BATCH_SIZE", "KEY VALUE"]),
        (["-image_size", "225"], 2, ["225", "multiple of 16"]),
        (["-eval", "-pretrained", "x", "MODEL.ENCODER.NUM_HEADS", "7"], 2, ["768", "num_heads=7"]),
        (["-data_path", "/nowhere", "-output", "{tmp}/o", "DATA.CROP_SCALE", "[2,1]"], 2, ["2"]),
        (["-data_path", "/nowhere", "-output", "{tmp}/o"], 3, ["train_list.txt"]),
        (["-eval"], 2, ["-pretrained"]),
        (["-eval", "-pretrained", "/nowhere/x"], 4, ["/nowhere/x"]),
        (["visualize", "x.jpg"], 2, ["-pretrained"]),
        (["visualize", "-pretrained", "/nowhere", "x.jpg"], 4, ["/nowhere"]),
        (["curve", "/nowhere"], 2, ["/nowhere", "log.jsonl"]),
    ],
)
def test_user_errors_are_one_line(cli, tmp_path, args, code, words):
    result = cli(*[a.format(tmp=tmp_path) for a in args])
    assert result.returncode == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]
