"""Every key of refinement's config arrives where it counts."""

import pytest
from stage_wiring import COMMON, assert_every_key_is_wired, assert_seed_decides_weights, put_together, wire

from mae_core.training.plan import Plan
from mae_pretrain.refine.config import RECIPE
from mae_pretrain.refine.train import build_model, stages_of


def head(wired):
    return next(iter(wired.model.head.values()))


WIRES = {
    **COMMON,
    "DATA.BATCH_SIZE": wire(4, lambda w: w.loader.sampler.images.batch_size, lambda w: w.plan.batch_size),
    "DATA.VIEWS": wire(3, lambda w: w.loader.sampler.views, lambda w: w.model.views),
    "DATA.CROP_PCT": wire(0.7, lambda w: w.model.crop_pct),
    "DATA.CROP_SCALE": wire([0.3, 0.6], lambda w: w.loader.dataset.transform.crop.scale),
    "DATA.JITTER": wire(0.7, lambda w: w.loader.dataset.transform.strength),
    "DATA.VALUE_RANGE": COMMON["DATA.VALUE_RANGE"].also(lambda w: w.loader.dataset.transform.high),
    "DATA.HFLIP": wire(0.2, lambda w: w.loader.dataset.transform.crop.hflip),
    "DATA.VFLIP": wire(0.3, lambda w: w.loader.dataset.transform.crop.vflip),
    "DATA.ROTATE90": wire(True, lambda w: w.loader.dataset.transform.crop.rotate90),
    "MODEL.DROPPATH": wire(0.2, lambda w: [b.drop_path.rate for b in w.model.blocks], arrives=[0.0, 0.1, 0.2]),
    "MODEL.MASK_RATIO": wire(0.4, lambda w: w.model.mask_ratio),
    "MODEL.GRAD_CHECKPOINTING": wire(True, lambda w: w.model.grad_checkpointing),
    "MODEL.HEADS.NUMBER": wire(2, lambda w: len(w.model.head)),
    "MODEL.HEADS.DIM": wire(6, lambda w: head(w).queue.shape[1]),
    "MODEL.HEADS.PROJECTOR_DIM": wire(10, lambda w: head(w).projector[0].weight.shape[1]),
    "MODEL.HEADS.PREDICTOR_DIM": wire(14, lambda w: head(w).predictor[0].weight.shape[1]),
    "MODEL.HEADS.QUEUE": wire(30, lambda w: head(w).queue.shape[0]),
    "MODEL.HEADS.NEIGHBOURS": wire(4, lambda w: head(w).settings.neighbours),
    "MODEL.HEADS.TEMPERATURE": wire(0.3, lambda w: head(w).settings.temperature),
    "TRAIN.HEADS_EPOCHS": wire(0, lambda w: w.trainer.loss_fn.args[0].heads_epochs),
    "TRAIN.WEIGHT_DECAY": wire(0.07, lambda w: w.trainer.optimizer._param_groups[0]["weight_decay"]),
    "TRAIN.HEADS_WEIGHT_DECAY": wire(0.02, lambda w: w.trainer.optimizer._param_groups[1]["weight_decay"]),
    "TRAIN.LAYER_DECAY": wire(
        0.5, lambda w: w.model.blocks[0].mlp.fc1.weight.optimize_attr["learning_rate"], arrives=0.5**3
    ),
    "TRAIN.EMA": wire(0.9, lambda w: w.trainer.ema.decay),
    "TRAIN.ACCUM_ITER": wire(3, lambda w: w.plan.accum_iter, lambda w: w.loader.sampler.images.accum_iter),
    "TRAIN.OPTIMIZER.EPS": wire(1e-5, lambda w: w.trainer.optimizer._epsilon),
    "TRAIN.OPTIMIZER.BETAS": wire((0.7, 0.8), lambda w: (w.trainer.optimizer._beta1, w.trainer.optimizer._beta2)),
    "SEED": wire(
        9, lambda w: w.plan.seed, lambda w: w.loader.sampler.images.seed, lambda w: w.loader.dataset.seed,
        lambda w: w.trainer.loss_fn.args[1],
    ),
}  # fmt: skip
MONITORED = {"DATA.VAL_LIST", *(f"MONITOR.{key}" for key in ("EVERY", "VAL_IMAGES", "TRAIN_IMAGES"))}  # test_monitor.py


@pytest.fixture(scope="module")
def wired(tmp_path_factory):
    return put_together(RECIPE, WIRES, tmp_path_factory.mktemp("wired"))


@pytest.mark.parametrize("key", WIRES)
def test_the_value_arrives(wired, key):
    WIRES[key].check(wired)


def test_no_key_is_left_out():
    assert_every_key_is_wired(RECIPE, WIRES, MONITORED | {"TRAIN.HEADS_LR"})


def test_the_seed_decides_the_initial_weights():
    assert_seed_decides_weights(lambda config: build_model(config, 40), RECIPE, WIRES)


def test_the_first_stage_has_a_rate_of_its_own():
    pairs = ["TRAIN.HEADS_EPOCHS", "10", "TRAIN.HEADS_LR", "3e-4", "TRAIN.WARMUP_EPOCHS", "2"]
    stages = stages_of(RECIPE.load(None, {}, pairs), Plan(steps_per_epoch=1, total_steps=50, batch_size=512))
    assert [stages.lr_at(epoch) for epoch in (2, 12)] == pytest.approx([3e-4 / 2, 4e-4 / 2])


def test_a_queue_holds_no_image_twice_and_a_third_of_the_blocks_have_heads():
    values = {key: w.value for key, w in WIRES.items()} | {"MODEL.HEADS.NUMBER": None, "MODEL.ENCODER.DEPTH": 4}
    model = build_model(RECIPE.load(None, values), images=11)
    assert {name: part.queue.shape[0] for name, part in model.head.items()} == {"block_2": 11, "block_3": 11}


@pytest.mark.parametrize(
    ("name", "dim", "average"), [("vit_base_patch16_224_refine", 256, 0.9999), ("vit_tiny_28_refine", 128, None)]
)
def test_packaged_configs_are_sound(name, dim, average):
    config = RECIPE.load(name)
    assert config.MODEL.TYPE == "REFINE"
    assert (dim, average) == (config.MODEL.HEADS.DIM, config.TRAIN.EMA)
