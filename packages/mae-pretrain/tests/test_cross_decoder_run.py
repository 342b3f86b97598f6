"""Runs with a decoder of cross-attention: trained, stopped, resumed, scored, drawn, exported, and refused elsewhere."""

import json
import re
import signal

import numpy as np
import paddle
import pytest
from PIL import Image
from stage_runs import PRETRAIN, assert_same, records

import mae_core
import mae_pretrain
from mae_core.models.cost import ModelSize, mae_macs, mae_parameters
from mae_core.ops import masking_noise

CROSS = ["MODEL.DECODER.KIND", "cross", "MODEL.DECODER.PREDICTED", "0.5"]
PAIRS = [*PRETRAIN.tiny, *CROSS]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    result = PRETRAIN.start("-batch_size", 8, "-data_path", data, "-output", run, *PAIRS, "MONITOR.EVERY", 3)
    assert result.returncode == 0, result.stderr
    return run


def test_a_run_trains_and_its_papers_name_the_decoder(finished):
    assert all(np.isfinite(r["loss"]) for r in records(finished) if r["kind"] == "train")
    assert re.search(r"\| MODEL.DECODER \| .*'KIND': 'cross'", (finished / "MODEL_CARD.md").read_text())
    assert list((finished / "monitor").glob("*.png"))


def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(data, finished, cli, tmp_path):
    args = ["-batch_size", 8, "-data_path", data, "-output", tmp_path / "run", *PAIRS, "REPORT_FREQ", 1]
    process = PRETRAIN.begin(*args)
    for line in process.stdout:
        if " step " in line:
            process.send_signal(signal.SIGUSR1)
            break
    process.communicate(timeout=60)
    resumed = cli(*args, "-resume", "auto")
    assert resumed.returncode == 0, resumed.stderr
    assert_same(finished, tmp_path / "run")


def test_two_ranks_give_the_weights_of_one_process(data, finished, tmp_path):
    PRETRAIN.launch("-batch_size", 4, "-data_path", data, "-output", tmp_path / "run", *PAIRS)
    assert_same(finished, tmp_path / "run", atol=2e-7)


def test_the_share_is_of_training_alone(data, finished, cli):
    """Scores are of all removed patches, also where fewer are removed than were predicted."""
    asked = ["-eval", "-pretrained", finished, "-data_path", data, "DATA.NUM_WORKERS", 0]
    results = [cli(*asked, *pairs) for pairs in ([], ["MODEL.DECODER.PREDICTED", 0.1], ["MODEL.MASK_RATIO", 0.3])]
    assert [r.returncode for r in results] == [0, 0, 0], results[2].stderr
    losses = [re.search(r"loss (\d\.\d+)", r.stdout)[1] for r in results]
    assert losses[0] == losses[1] != losses[2]
    assert "MODEL.DECODER.KIND cross" in results[0].stdout + results[0].stderr


def test_weights_of_the_other_kind_are_refused_in_one_line(data, finished, cli, pretrained):
    for run, kind, other in ((finished, "cross", "full"), (pretrained, "full", "cross")):
        refused = cli("-pretrained", run, "-data_path", data, "MODEL.DECODER.KIND", other, "DATA.IMAGE_SIZE", 16)
        assert refused.returncode == 4
        (line,) = refused.stderr.strip().splitlines()
        assert f"MODEL.DECODER.KIND is '{kind}' in these weights, '{other}' was asked for; leave it out" in line


def test_pictures_predict_all_removed_patches(data, finished, cli, tmp_path):
    files = [data / "val/class 0/a 0.jpg", data / "val/class 1/a 1.jpg"]
    result = cli("visualize", "-pretrained", finished, "-output", tmp_path / "grid.png", *files)
    assert result.returncode == 0, result.stderr
    assert Image.open(tmp_path / "grid.png").height > 2 * 128
    pictures = mae_pretrain.reconstruct(str(finished), files, mask_ratio=0.75)
    cells = [
        x.reshape(2, 4, 4, 4, 4, 3).swapaxes(2, 3).reshape(2, 16, -1) for x in (pictures.pasted, pictures.original)
    ]
    changed = (cells[0] != cells[1]).any(axis=-1)
    np.testing.assert_array_equal(changed, pictures.mask.reshape(2, 16) == 1)


def test_an_exported_autoencoder_predicts_as_the_model(finished, cli, tmp_path):
    folder = tmp_path / "exported"
    result = cli("export", "-pretrained", finished, "-output", folder, "--with-decoder")
    assert result.returncode == 0, result.stderr
    model, images = mae_core.load(finished), np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    noise = masking_noise(7, 0, np.arange(3), 16)
    _, expected, removed = model(paddle.to_tensor(images), noise=paddle.to_tensor(noise))
    served = paddle.jit.load(str(folder / "inference"))
    prediction, mask = served(paddle.to_tensor(images), paddle.to_tensor(noise))
    np.testing.assert_array_equal(mask.numpy(), removed.numpy())
    np.testing.assert_allclose(prediction.numpy(), expected.numpy(), atol=1e-5 * float(expected.abs().max()))
    assert json.loads((folder / "export.json").read_text())["mask_ratio"] == 0.75


def test_a_dry_run_counts_the_decoder(data, cli):
    result = cli("--dry-run", "-batch_size", 8, "-data_path", data, *PAIRS)
    assert result.returncode == 0, result.stderr
    size = ModelSize(
        embed_dim=16, depth=1, patch_size=4, img_size=16, decoder_kind="cross", decoder_embed_dim=8, decoder_depth=1
    )
    macs = mae_macs(size, 0.75, 0.5).total
    assert f"model: {mae_parameters(size).total:,} parameters, {macs / 1e9:.3g} GMACs" in result.stdout
