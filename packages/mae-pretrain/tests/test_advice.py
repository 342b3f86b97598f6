"""What `-cfg auto` and `--budget` choose for images and machine, and what a dry run says of plans that suit neither."""

import os
import re
import shlex
from argparse import ArgumentTypeError
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image
from stage_runs import PRETRAIN, assert_refused, assert_same, weights

from mae_core.errors import UserError
from mae_core.stage.run.dry_run import Estimate, Timing
from mae_data.errors import DataError
from mae_data.sources.open_source import open_source
from mae_pretrain import dry_run, pretrain
from mae_pretrain.advice.auto import choose_recipe
from mae_pretrain.advice.budget import seconds_of
from mae_pretrain.advice.hint import hint
from mae_pretrain.advice.images import look_at
from mae_pretrain.advice.length import Pace, fill
from mae_pretrain.advice.rules import candidates, usual_epochs, values_for
from mae_pretrain.config import RECIPE

# Sizes that train in a moment; the rest is chosen.
SMALL = [
    *("MODEL.ENCODER.EMBED_DIM", "16", "MODEL.ENCODER.DEPTH", "1", "MODEL.ENCODER.NUM_HEADS", "2"),
    *("MODEL.DECODER.EMBED_DIM", "8", "MODEL.DECODER.DEPTH", "1", "MODEL.DECODER.NUM_HEADS", "2"),
]


def write_folder(folder, shape, number, suffix=".png", dtype="uint8", white=256):
    """Write random images, all but the first as links to it; returns the folder."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, white, shape, dtype=dtype)
    first = folder / f"0{suffix}"
    if suffix == ".tif":
        pytest.importorskip("tifffile").imwrite(first, pixels)
    else:
        Image.fromarray(pixels).save(first)
    for i in range(1, number):
        os.link(first, folder / f"{i}{suffix}")
    return folder


@pytest.fixture
def greys(tmp_path):
    """24 grey pictures of 28 pixels."""
    return write_folder(tmp_path / "greys", (28, 28), 24)


def advised(folder, ranks=1, on_gpu=False, **typed):
    """Return the recipe and the values for a folder."""
    look = look_at(open_source(folder, labels="optional"))
    known = candidates(look, on_gpu)[0]
    stated = RECIPE.load(None, {key.replace("__", "."): value for key, value in typed.items()})
    return known.recipe, values_for(known, look, ranks, stated, {key.replace("__", ".") for key in typed})


def test_greys_of_28_pixels_get_the_recipe_as_it_is(tmp_path):
    assert advised(write_folder(tmp_path / "a", (28, 30), 300)) == ("vit_tiny_28_pretrain", {})
    colour = np.random.default_rng(0).integers(0, 256, (28, 28, 1), "uint8").repeat(3, axis=2)
    (tmp_path / "b").mkdir()
    for i in range(300):
        Image.fromarray(colour).save(tmp_path / f"b/{i}.png")
    assert advised(tmp_path / "b") == ("vit_tiny_28_pretrain", {})  # stored as colours, and grey


def test_small_colours_get_whole_patches_of_their_own_size(tmp_path):
    recipe, values = advised(write_folder(tmp_path / "a", (64, 64, 3), 300))
    assert (recipe, values) == ("vit_tiny_64_pretrain", {})
    recipe, values = advised(write_folder(tmp_path / "b", (50, 60, 3), 300))
    assert (recipe, values) == ("vit_tiny_64_pretrain", {"DATA.IMAGE_SIZE": 48})
    recipe, values = advised(write_folder(tmp_path / "c", (33, 32, 3), 300))
    assert (recipe, values) == ("vit_tiny_28_pretrain", {"DATA.IMAGE_SIZE": 32, "DATA.IMAGE_CHANNELS": 3})
    recipe, values = advised(write_folder(tmp_path / "d", (8, 8), 300))
    assert (recipe, values) == ("vit_tiny_28_pretrain", {})  # enlarged


def test_bands_bring_their_number_range_and_statistics(tmp_path):
    folder = write_folder(tmp_path / "tiles", (4, 70, 64), 40, ".tif", "uint16", 10_000)
    recipe, values = advised(folder)
    assert recipe == "vit_tiny_64_pretrain"
    assert (values["DATA.IMAGE_CHANNELS"], values["DATA.VALUE_RANGE"]) == (4, 65535)
    pixels = np.random.default_rng(0).integers(0, 10_000, (4, 70, 64), "uint16") / 65535
    np.testing.assert_allclose(values["DATA.IMAGENET_MEAN"], pixels.mean(axis=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(values["DATA.IMAGENET_STD"], pixels.std(axis=(1, 2)), atol=1e-4)
    assert str(look_at(open_source(folder, labels="optional"))).endswith(
        "values up to 9999 of 65535 (DATA.VALUE_RANGE)"
    )
    look = look_at(open_source(folder, labels="optional"), value_range=10_000, bands=[2, 0, 1])
    assert (look.channels, look.value_range, len(look.mean)) == (3, 10_000, 3)


def test_photographs_get_the_recipe_that_their_number_and_the_machine_bear(tmp_path):
    folder = write_folder(tmp_path / "photos", (900, 1200, 3), 500, ".jpg")
    assert advised(folder)[0] == "vit_tiny_96_pretrain"
    assert advised(folder, on_gpu=True)[0] == "vit_tiny_96_pretrain"
    look = look_at(open_source(folder, labels="optional"))
    many = SimpleNamespace(**{**vars(look), "images": 1_000_000})
    assert [known.recipe for known in candidates(many, on_gpu=True)] == [
        *("vit_base_patch16_224_pretrain", "vit_small_96_pretrain", "vit_tiny_96_pretrain", "vit_tiny_64_pretrain")
    ]
    base = candidates(many, on_gpu=True)[0]
    values = values_for(base, many, 8, RECIPE.defaults, ())
    assert values == {"TRAIN.ACCUM_ITER": 2}  # 256 images, 8 ranks, twice: the paper's 4,096
    assert usual_epochs(base, 1_000_000, 244) == 800
    small = candidates(many, on_gpu=False)
    assert [known.recipe for known in small] == ["vit_tiny_96_pretrain", "vit_tiny_64_pretrain"]
    assert values_for(small[1], many, 1, RECIPE.defaults, ()) == {"DATA.NUM_WORKERS": 2}


def test_a_small_batch_keeps_the_learning_rate_that_was_measured(greys):
    """The paper's rule would give 1e-4 and less."""
    _, values = advised(greys)
    assert values == {"DATA.BATCH_SIZE": 2, "TRAIN.BASE_LR": 1e-3, "TRAIN.LINEAR_SCALED_LR": None}
    _, values = advised(greys, DATA__BATCH_SIZE=8)
    assert values == {"TRAIN.BASE_LR": 1e-3, "TRAIN.LINEAR_SCALED_LR": None}
    assert advised(greys, DATA__BATCH_SIZE=8, TRAIN__BASE_LR=1e-4)[1] == {}


def test_ranks_share_the_batch_that_was_measured(tmp_path):
    folder = write_folder(tmp_path / "a", (28, 28), 300)
    assert advised(folder, ranks=4) == ("vit_tiny_28_pretrain", {"DATA.BATCH_SIZE": 8})


def test_images_that_cannot_be_looked_at_say_why(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of the 1 images looked at"):
        look_at(open_source(tmp_path / "bad", labels="optional"))
    (tmp_path / "floats").mkdir()
    np.save(tmp_path / "floats/a.npy", np.linspace(-2, 3, 32 * 32, dtype="float32").reshape(32, 32))
    source = open_source(tmp_path / "floats", labels="optional")
    with pytest.raises(
        UserError, match=r'float32 and lie from -2 \(a.npy\) to 3 \(a.npy\) .* DATA.VALUE_RANGE "\[-2, 3\]"'
    ):
        look_at(source)
    np.save(tmp_path / "floats/dose.npy", np.full((32, 32), 1e6, "float32"))
    with pytest.raises(UserError, match=r"lie from -2 \(a.npy\) to 1e\+06 \(dose.npy\)"):
        look_at(open_source(tmp_path / "floats", labels="optional"))
    assert look_at(source, value_range=[-2, 3]).value_range == [-2, 3]


def pace(seconds, steps_per_epoch, **values):
    """Return the pace of a run whose steps take so long."""
    return Pace(
        RECIPE.load("vit_tiny_28_pretrain", values), steps_per_epoch, Timing(Estimate(9, 0, 0, 0), [seconds] * 3)
    )


def test_a_budget_becomes_epochs_with_warm_up_in_proportion():
    values, lines = fill(pace(0.05, 1875), 1800, ())
    assert values == {"TRAIN.NUM_EPOCHS": 19.2, "TRAIN.WARMUP_EPOCHS": 2.4, "SAVE_FREQ": 1}
    assert lines == [
        "19.2 epochs, 2.4 of them warm-up: 36,000 steps of 0.05 s (the mean of 3 measured ones) take about 30 min"
    ]
    values, lines = fill(pace(0.05, 1875), 20, ())
    assert values["TRAIN.NUM_EPOCHS"] == 0.213  # a part of an epoch
    assert "that is short" in lines[1]
    values, _ = fill(pace(0.05, 10), 3600, ())
    assert values == {"TRAIN.NUM_EPOCHS": 7200, "TRAIN.WARMUP_EPOCHS": 900, "SAVE_FREQ": 720}
    typed = {"TRAIN.NUM_EPOCHS", "SAVE_FREQ"}
    assert fill(pace(0.05, 10, **{"TRAIN.NUM_EPOCHS": 40}), 3600, typed)[0] == {"TRAIN.WARMUP_EPOCHS": 1.0}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1d", 86400)])
def test_a_budget_is_a_number_with_a_unit(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "2 h", "-2h", "0m", "2w", "h", "1h30m", ""])
def test_any_other_budget_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="30m or 2h"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-cfg", "auto", "--budget", "30"], ["'30' is no length of time"]),
        (["--budget", "1m", "TRAIN.NUM_EPOCHS", "3"], ["--budget sets TRAIN.NUM_EPOCHS"]),
        (["-cfg", "auto", "-pretrained", "runs/a"], ["-pretrained", "leave them out"]),
        (["-cfg", "auto", "-eval", "-pretrained", "runs/a"], ["-eval", "leave them out"]),
    ],
)
def test_what_contradicts_is_one_line(greys, cli, words, said):
    assert_refused(cli(*words, "-data_path", greys), 2, said)


def test_images_that_contradict_the_keys_are_one_line(greys, cli):
    words = ["-cfg", "auto", "-data_path", greys]
    said = ["none of the 24 images looked at can be read", "0.png: there is no band 1"]
    assert_refused(cli(*words, "DATA.BANDS", "[0, 1, 2]"), 3, said)
    assert_refused(cli(*words, "DATA.VALUE_RANGE", "100"), 3, ["has 1 channels, 3 are asked for: state 1"])


def run_config(run):
    """Return the config that a run wrote, but for its folder."""
    return {key: value for key, value in yaml.safe_load((run / "config.yaml").read_text()).items() if key != "SAVE"}


def test_the_command_that_is_printed_does_the_same_and_is_resumed(greys, tmp_path, cli):
    words = ["-cfg", "auto", "--budget", "2s", "-data_path", greys, "-batch_size", "4", *SMALL]
    first = cli(*words, "-output", tmp_path / "a", "-resume", "auto")
    assert first.returncode == 0, first.stderr
    assert "24 of 24 images looked at: shorter side 28 pixels, 1 channel (grey), values up to 255" in first.stdout
    (line,) = [line for line in first.stdout.splitlines() if "the same as: " in line]
    command = shlex.split(line.partition("the same as: ")[2])
    assert command[:3] == ["mae-pretrain", "-cfg", "vit_tiny_28_pretrain"]
    assert not {"auto", "--budget"} & {*command} - {command[command.index("-resume") + 1]}
    assert first.stdout.count("precision: float32") == 1, "what is tried is not logged"
    steps = [int(step) for step in re.findall(r" step (\d+)/", first.stdout)]
    assert steps == sorted(set(steps))
    taken = cli(*words, "-output", tmp_path / "a")
    assert_refused(taken, 2, [f"{tmp_path}/a holds a run already"])
    assert "looked at" not in taken.stdout, "it is refused at once"
    again = cli(*[word.replace(f"{tmp_path}/a", f"{tmp_path}/b") for word in command[1:]])
    assert again.returncode == 0, again.stderr
    config = run_config(tmp_path / "a")
    assert config == run_config(tmp_path / "b")
    assert_same(tmp_path / "a", tmp_path / "b")  # the steps that were measured left no trace
    assert (config["DATA"]["BATCH_SIZE"], config["DATA"]["IMAGE_SIZE"], config["MODEL"]["PATCH_SIZE"]) == (4, 28, 4)
    assert config["MODEL"]["ENCODER"]["EMBED_DIM"] == 16  # typed
    assert config["TRAIN"]["BASE_LR"] == 1e-3
    assert config["TRAIN"]["LINEAR_SCALED_LR"] is None
    assert config["TRAIN"]["WARMUP_EPOCHS"] == pytest.approx(config["TRAIN"]["NUM_EPOCHS"] / 8, rel=0.01)
    resumed = cli(*words, "-output", tmp_path / "a", "-resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    assert "nothing is chosen" in resumed.stdout
    assert "nothing to train" in resumed.stdout
    assert run_config(tmp_path / "a") == config


def test_all_ranks_do_what_the_first_one_chooses(greys, tmp_path):
    words = ["-cfg", "auto", "-data_path", greys, "-output", tmp_path / "run", "TRAIN.NUM_EPOCHS", "1", *SMALL]
    log = PRETRAIN.launch(*words)
    assert log.count("the same as: ") == 1
    config = run_config(tmp_path / "run")
    assert config["DATA"]["BATCH_SIZE"] == 2
    assert config["TRAIN"]["WARMUP_EPOCHS"] == 0.125
    assert weights(tmp_path / "run")[0] == "step_00000006"


def test_a_budget_sets_the_length_of_any_recipe(greys, tmp_path, cli):
    (tmp_path / "own.yaml").write_text("TRAIN: {NUM_EPOCHS: 50, WARMUP_EPOCHS: 5}\nDATA: {BATCH_SIZE: 8}\n")
    words = ["-cfg", tmp_path / "own.yaml", "--budget", "1s", "-data_path", greys, *SMALL, "--dry-run"]
    result = cli(*words, "DATA.IMAGE_SIZE", 28, "MODEL.PATCH_SIZE", 4, "DATA.IMAGE_CHANNELS", 1)
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if "the same as: " in line]
    command = shlex.split(line.partition("the same as: ")[2])
    pace = r"([\d.]+) s (?:\(|per step, )the mean of (\d+) measured"
    times = re.findall(pace, result.stdout)
    assert len(times) == 2
    assert times[0][1] == times[1][1], "a step is timed once"
    epochs, warmup = (float(command[command.index(key) + 1]) for key in ("TRAIN.NUM_EPOCHS", "TRAIN.WARMUP_EPOCHS"))
    assert warmup == pytest.approx(epochs / 10, rel=0.01)
    assert os.listdir(tmp_path) == ["own.yaml"] or sorted(os.listdir(tmp_path)) == ["greys", "own.yaml"]


def test_a_call_in_python_chooses_as_the_command(greys, tmp_path, capfd):
    sizes = {key: int(value) for key, value in zip(SMALL[::2], SMALL[1::2], strict=True)}
    arguments = {"cfg": "auto", "budget": "2s", "output": tmp_path / "run", "settings": {**sizes, "DATA.HFLIP": 0.0}}
    dry_run(greys, **arguments)
    assert not (tmp_path / "run").exists()
    trainer = pretrain(greys, **arguments)
    assert capfd.readouterr().out.count("24 of 24 images looked at") == 2
    config = run_config(tmp_path / "run")
    assert (config["DATA"]["BATCH_SIZE"], config["DATA"]["IMAGE_SIZE"], config["MODEL"]["PATCH_SIZE"]) == (2, 28, 4)
    assert (config["DATA"]["HFLIP"], config["TRAIN"]["BASE_LR"]) == (0.0, 1e-3)
    assert trainer.step == trainer.plan.total_steps > 10
    with pytest.raises(UserError, match=r"budget 'soon' is no length of time; give a number and s, m, h or d"):
        pretrain(greys, output=tmp_path / "other", budget="soon")
    with pytest.raises(UserError, match=r"sets TRAIN\.NUM_EPOCHS, which is stated, too"):
        pretrain(greys, output=tmp_path / "other", budget="2s", epochs=3)


def hinted(folder, seconds=60.0, **typed):
    """Return the hint on a plan for a folder; its learning rate and steps are the config's."""
    config = RECIPE.load(typed.pop("cfg", None), {"DATA.DATA_PATH": str(folder), **typed})
    source = open_source(folder, labels="optional")
    per_epoch = max(1, len(source) // config.DATA.BATCH_SIZE)
    rate = config.TRAIN.BASE_LR * config.DATA.BATCH_SIZE / 256
    plan = SimpleNamespace(
        steps_per_epoch=per_epoch, total_steps=per_epoch * config.TRAIN.NUM_EPOCHS, global_batch=config.DATA.BATCH_SIZE
    )
    return list(hint(config, source, SimpleNamespace(plan=plan, lr_at=lambda epoch: rate), seconds))


def test_a_plan_that_suits_badly_is_answered_with_a_command(tmp_path, greys):
    large = write_folder(tmp_path / "large", (300, 300, 3), 300)
    tiles = write_folder(tmp_path / "tiles", (4, 70, 64), 300, ".tif", "uint16", 10_000)
    (line,) = hinted(greys, **{"DATA.BATCH_SIZE": 8})
    assert "the images have 28 pixels, DATA.IMAGE_SIZE is 224; a learning rate of 4.7e-06 is low" in line
    assert line.endswith(f": mae-pretrain -cfg auto --budget 2h -data_path {greys} --dry-run")
    (line,) = hinted(large, seconds=9e6, cfg="vit_tiny_96_pretrain")
    assert "hint: training takes 100 days on this machine. " in line
    (line,) = hinted(large, **{"DATA.BATCH_SIZE": 200, "TRAIN.NUM_EPOCHS": 100})
    assert "hint: a batch of 200 images leaves 100 steps. " in line
    (line,) = hinted(tiles, cfg="vit_tiny_64_pretrain")
    assert "the images have 4 channels of a range of 65535, the config is for 3 of 255. " in line


def test_a_sensible_plan_has_no_hint(tmp_path):
    assert hinted(write_folder(tmp_path / "a", (28, 28), 300), cfg="vit_tiny_28_pretrain") == []
    assert hinted(write_folder(tmp_path / "b", (300, 300, 3), 300), cfg="vit_tiny_96_pretrain") == []
    tiles = write_folder(tmp_path / "c", (4, 70, 64), 300, ".tif", "uint16", 10_000)
    stated = {"DATA.IMAGE_CHANNELS": 4, "DATA.VALUE_RANGE": 10_000}
    stated |= {"DATA.IMAGENET_MEAN": [0.5] * 4, "DATA.IMAGENET_STD": [0.3] * 4}
    assert hinted(tiles, cfg="vit_tiny_64_pretrain", **stated) == []


def test_a_dry_run_ends_with_the_hint(greys, tmp_path, cli):
    words = ["-data_path", greys, "-batch_size", 8, "DATA.IMAGE_SIZE", "64", *SMALL, "--dry-run"]
    lines = cli(*words, cwd=tmp_path).stdout.splitlines()
    assert lines[-2] == "nothing was written (--dry-run)"
    assert lines[-1].startswith("hint: the images have 28 pixels, DATA.IMAGE_SIZE is 64;")


def chosen(folder, budget, **typed):
    """Return what is chosen where a step of the recipe of 96 pixels takes 0.7 s, of others 0.09."""
    stated = {"DATA.DATA_PATH": str(folder), **typed}

    def plan(recipe, values):
        timing = Timing(Estimate(9, 0, 0, 0), [0.7 if "96" in recipe else 0.09])
        return Pace(RECIPE.load(recipe, values | stated), 15, timing)

    return choose_recipe(RECIPE.load(None, stated), stated.keys(), budget, plan)


def test_a_short_budget_takes_the_recipe_that_does_enough_steps(tmp_path):
    folder = write_folder(tmp_path / "photos", (300, 400, 3), 500, ".jpg")
    assert chosen(folder, 7200).recipe == "vit_tiny_96_pretrain"
    short = chosen(folder, 600)
    assert short.recipe == "vit_tiny_64_pretrain"
    assert short.values["TRAIN.NUM_EPOCHS"] == round(600 / 0.09 / 15)
    unlimited = chosen(folder, None)
    assert (unlimited.recipe, unlimited.values["TRAIN.NUM_EPOCHS"]) == ("vit_tiny_96_pretrain", 224)  # 3,360 steps
    assert chosen(folder, 7200, **{"DATA.IMAGE_SIZE": 32}).recipe == "vit_tiny_28_pretrain"
    typed = chosen(folder, None, **{"TRAIN.NUM_EPOCHS": 40})
    assert "TRAIN.NUM_EPOCHS" not in typed.values
    assert typed.values["TRAIN.WARMUP_EPOCHS"] == 2.0  # the recipe's share
