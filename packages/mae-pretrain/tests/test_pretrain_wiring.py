"""Every key of the config arrives where it counts."""

import numpy as np
import paddle
import pytest
from stage_wiring import COMMON, Loader, assert_every_key_is_wired, assert_seed_decides_weights, put_together, wire

from mae_core.ops import STRATEGIES, MaskKey
from mae_core.ops.masking import block_noise
from mae_data.loading.batch import Batch
from mae_data.transforms.native_crop import NativeCentre, NativeCrop
from mae_pretrain import evaluate
from mae_pretrain.build import build_model, eval_dataset, mask_noise, train_dataset
from mae_pretrain.config import MASKINGS, RECIPE


def loss_call(wired):
    """Return what the loss asks of the model, for images 4 and 5, twice each, in epoch 3."""
    asked = {}

    def model(images, ratio, noise, valid, predicted, return_pred):
        key = noise.seed, noise.epoch, noise.index.tolist()
        asked.update(ratio=ratio, key=key, valid=valid.tolist(), predicted=predicted)
        return None, None, None

    images = paddle.full([4, 8, 12, 2], 250, "uint8")
    images[0, :4, :4, 1] = 0  # without data
    wired.trainer.loss_fn(model, Batch(images, None, paddle.to_tensor([4, 4, 5, 5])), 3)
    return asked


def falling_part(wired):
    """Return the part of the run in which the learning rate falls, from where it is after 180 of 200 epochs."""
    peak, then, end = (wired.lr(epoch) for epoch in (2, 180, 200))
    fallen = ((peak - then) / (peak - end)) ** 2  # of the fall's time
    return round(1 - (180 - 200 * fallen) / (1 - fallen) / 200, 9)


WIRES = {
    **COMMON,
    "SEED": COMMON["SEED"].also(lambda w: loss_call(w)["key"][0]),
    "DATA.NODATA": COMMON["DATA.NODATA"].also(lambda w: -9.0 + loss_call(w)["valid"][0].index(0)),
    "DATA.CROP_SCALE": wire([0.3, 0.6], lambda w: w.loader.dataset.transform.scale),
    "DATA.HFLIP": wire(0.2, lambda w: w.loader.dataset.transform.hflip),
    "DATA.VFLIP": wire(0.3, lambda w: w.loader.dataset.transform.vflip),
    "DATA.ROTATE90": wire(True, lambda w: w.loader.dataset.transform.rotate90),
    "DATA.REPEATS": wire(2, lambda w: w.loader.sampler.repeats, lambda w: 2 if w.loader.dataset.reuse else 1),
    "MODEL.DROPPATH": wire(0.2, lambda w: [b.drop_path.rate for b in w.model.blocks], arrives=[0.0, 0.1, 0.2]),
    "MODEL.MASK_RATIO": wire(0.4, lambda w: loss_call(w)["ratio"]),
    "MODEL.NORM_PIX_LOSS": wire(False, lambda w: w.model.norm_pix_loss),
    "MODEL.GRAD_CHECKPOINTING": wire(True, lambda w: w.model.grad_checkpointing),
    "MODEL.DECODER.KIND": wire("cross", lambda w: w.model.decoder_kind),
    "MODEL.DECODER.PREDICTED": wire(0.3, lambda w: loss_call(w)["predicted"]),
    "MODEL.DECODER.EMBED_DIM": wire(20, lambda w: w.model.mask_token.shape[-1]),
    "MODEL.DECODER.DEPTH": wire(2, lambda w: len(w.model.decoder_blocks)),
    "MODEL.DECODER.NUM_HEADS": wire(5, lambda w: w.model.decoder_blocks[0].attn.num_heads),
    "TRAIN.SCHEDULE": wire("wsd", lambda w: "wsd" if w.lr(4) == w.lr(2) else "cosine"),
    "TRAIN.DECAY": wire(0.3, falling_part),
    "TRAIN.EMA": wire(0.8, lambda w: w.trainer.ema.decay),
    "TRAIN.SHARD_OPTIMIZER": wire(True, lambda w: w.trainer.shard_optimizer),
    "TRAIN.WEIGHT_DECAY": wire(0.07, lambda w: w.trainer.optimizer._weight_decay),
    "TRAIN.OPTIMIZER.EPS": wire(1e-5, lambda w: w.trainer.optimizer._epsilon),
    "TRAIN.OPTIMIZER.BETAS": wire((0.7, 0.8), lambda w: (w.trainer.optimizer._beta1, w.trainer.optimizer._beta2)),
}
EVALUATION = {"DATA.VAL_LIST": "b.txt", "DATA.CROP_PCT": 0.7}  # read below
WATCHED = {f"MONITOR.{key}" for key in ("EVERY", "VAL_IMAGES", "TRAIN_IMAGES", "PICTURES")}  # test_monitor.py
ELSEWHERE = {"DATA.CROP", "DATA.CROPS", "TRAIN.ANNEAL", "TRAIN.OPTIMIZER.NAME", "MODEL.MASKING", *WATCHED}  # read below


@pytest.fixture(scope="module")
def wired(tmp_path_factory):
    return put_together(RECIPE, WIRES, tmp_path_factory.mktemp("wired"))


@pytest.mark.parametrize("key", WIRES)
def test_the_value_arrives(wired, key):
    WIRES[key].check(wired)


def test_no_key_is_left_out():
    assert_every_key_is_wired(RECIPE, WIRES, EVALUATION.keys() | ELSEWHERE)


def test_the_seed_decides_the_initial_weights():
    assert_seed_decides_weights(build_model, RECIPE, WIRES)


def test_masks_are_drawn_by_epoch_and_sample(wired):
    """The second crop of an image has the mask of an image behind the forty of the list."""
    assert loss_call(wired)["key"] == (9, 3, [4, 44, 5, 45])


def test_masking_chooses_the_strategy_for_the_models_grid(wired):
    """Training, -eval and visualize ask alike; the sizes are those of an 8 x 12 image of 4-pixel patches."""
    assert set(MASKINGS) == set(STRATEGIES)
    blocks = config(**{"MODEL.MASKING": "block", "MODEL.DECODER.PREDICTED": 0.4})
    noise = mask_noise(blocks, paddle.to_tensor([4, 5]), 3)
    np.testing.assert_array_equal(noise.numpy(), block_noise(9, 3, [4, 5], (2, 3), 6 - int(6 * (1 - 0.4))))
    other = mask_noise(blocks, paddle.to_tensor([4, 5]), 3, seed=1)
    np.testing.assert_array_equal(other.numpy(), block_noise(1, 3, [4, 5], (2, 3), 3))


def test_native_crops_are_several_of_each_image(tmp_path):
    """Their number is that of an epoch's samples; evaluation shows the centre."""
    (tmp_path / "a.txt").write_text("x.jpg\n" * 3)
    (tmp_path / "b.txt").write_text("x.jpg\n" * 2)
    values = config(**{"DATA.CROP": "native", "DATA.CROPS": 8, "DATA.DATA_PATH": str(tmp_path)})
    assert train_dataset(values).transform == NativeCrop((8, 12), 0.2, 0.3, True)
    assert (len(train_dataset(values)), len(eval_dataset(values))) == (24, 2)
    assert eval_dataset(values).transform == NativeCentre((8, 12))


def config(**values):
    return RECIPE.load(None, {key: w.value for key, w in WIRES.items()} | EVALUATION | values)


def test_evaluation_reads_its_own_list_and_crop(wired, tmp_path, monkeypatch):
    """And masks as many patches as training, by the same seed."""
    for name, count in (("a.txt", 3), ("b.txt", 2)):
        (tmp_path / name).write_text("x.jpg\n" * count)
    loaders, asked = [], []
    monkeypatch.setattr(evaluate, "make_loader", lambda *args, **kw: loaders.append(Loader(*args, **kw)) or loaders[-1])
    original = evaluate.predict_patches

    def predict_patches(model, images, ratio, noise):
        asked.append((ratio, noise))
        return original(model, images, ratio, noise)

    monkeypatch.setattr(evaluate, "predict_patches", predict_patches)
    values = config(**{"DATA.DATA_PATH": str(tmp_path), "DATA.ON_ERROR": "skip", "AMP_DTYPE": "bfloat16"})
    evaluate.score_reconstructions(values, wired.model, evaluate.open_sets(values)[0], paddle.zeros([1, 6, 16]))
    (loader,), ((ratio, noise),) = loaders, asked
    dataset = loader.dataset
    assert (len(dataset), dataset.transform.crop_pct, dataset.transform.size, dataset.channels) == (2, 0.7, (8, 12), 1)
    assert (loader.num_workers, loader.sampler.batch_size) == (5, 4)
    assert dataset.on_error == "raise"  # though training skips
    assert isinstance(noise, MaskKey)
    assert (ratio, noise.seed, noise.epoch) == (0.4, 9, 0)


def test_the_mean_image_is_of_the_training_list(wired, monkeypatch):
    monkeypatch.setattr(evaluate, "eval_dataset", lambda c, name=None, dropping=False: (name, dropping))
    assert evaluate.open_sets(config()) == ((None, False), ("a.txt", True))
    dropped = np.zeros((8, 12, 1)), -1, -2  # by ON_ERROR skip
    patches = evaluate._mean_patches([dropped, (np.full((8, 12, 1), 51), 0, 0)], wired.model)
    np.testing.assert_allclose(patches.numpy(), 51 / 250, rtol=1e-6)
    first, second = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 1), dtype=np.uint8)
    expected = wired.model.patchify(paddle.to_tensor(np.stack([first, second]))).numpy().mean(axis=0) / 250
    found = evaluate._mean_patches([(first, 0, 0), (second, 0, 1)], wired.model)
    np.testing.assert_allclose(found.numpy()[0], expected, rtol=1e-5)
