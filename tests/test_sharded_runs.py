"""TRAIN.SHARD_OPTIMIZER on two ranks, killed on the way: the run is that of whole optimizers, bit for bit."""

import shutil
import time

from safetensors.numpy import load_file
from stage_runs import FINETUNE, PRETRAIN, assert_same, data, pretrained, records

__all__ = ["data", "pretrained"]


def test_a_run_that_was_killed_and_resumed_is_the_run_of_whole_optimizers(data, pretrained, tmp_path):
    """With what an update looks at, or keeps beside the weights: norm of all gradients, rate by layer, averages."""
    words = ["-batch_size", 2, "-data_path", data, "-pretrained", pretrained, *FINETUNE.tiny]
    words += ["TRAIN.GRAD_CLIP", 0.5, "TRAIN.EMA", 0.9, "TRAIN.ACCUM_ITER", 2, "TRAIN.NUM_EPOCHS", 6]
    FINETUNE.launch(*words, "-output", tmp_path / "whole")
    run = tmp_path / "sharded"
    sharded = [*words, "TRAIN.SHARD_OPTIMIZER", True, "-resume", "auto", "-output", run]
    ranks = FINETUNE.ranks(*sharded)
    while not list(run.glob("checkpoints/step_*")):
        assert ranks[0].poll() is None
        time.sleep(0.01)
    for rank in ranks:
        rank.kill()
        rank.wait()
    assert len(list(run.glob("checkpoints/step_*"))) < 3, "it was through before it was killed"
    assert "resumed from" in FINETUNE.launch(*sharded)
    for file in ("model", "optimizer", "ema"):
        assert_same(tmp_path / "whole", run, file=file)
    assert records(tmp_path / "whole") == records(run)


def test_the_capture_of_a_loss_that_is_not_finite_holds_the_state_of_all_ranks(data, tmp_path):
    words = ["-batch_size", 4, "-data_path", data, "-output", tmp_path / "run", *PRETRAIN.tiny]
    words += ["TRAIN.BASE_LR", 1e30, "TRAIN.SHARD_OPTIMIZER", True]
    ranks = PRETRAIN.ranks(*words)
    logs = "".join(rank.communicate(timeout=120)[0] for rank in ranks)
    assert [rank.returncode for rank in ranks] == [5, 5], logs
    (checkpoint,) = (tmp_path / "run/capture/checkpoints").glob("step_*")
    state = load_file(checkpoint / "optimizer.safetensors")
    fixed = {"pos_embed", "decoder_pos_embed"}
    named = {name for name, value in load_file(checkpoint / "model.safetensors").items()} - fixed
    assert {key.rpartition("/")[0] for key in state} == named
    assert len(state) == 4 * len(named)  # two moments and their powers


def test_what_two_ranks_wrote_goes_on_in_one_process_as_if_it_had_been_whole(data, pretrained, tmp_path):
    words = ["-data_path", data, "-pretrained", pretrained, *FINETUNE.tiny, "SAVE_FREQ", 2]
    for name in ("whole", "sharded"):
        run = tmp_path / name
        one = [*words, "-output", run, "TRAIN.SHARD_OPTIMIZER", name == "sharded"]
        FINETUNE.launch(*one, "-batch_size", 6)
        for later in sorted(run.glob("checkpoints/step_*"))[1:]:
            shutil.rmtree(later)
        again = FINETUNE.start(*one, "-batch_size", 12, "-resume", "auto", "--allow-drift", "DATA.BATCH_SIZE")
        assert again.returncode == 0, again.stderr
        assert "resumed from" in again.stdout
    for file in ("model", "optimizer"):
        assert_same(tmp_path / "whole", tmp_path / "sharded", file=file)
