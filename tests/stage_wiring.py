"""Where a config's values must arrive: each stage's `train` put together with odd values, up to the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mae_core.errors import UserError
from mae_core.stage.config import to_arguments as settings
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.config.recipe import Recipe
from mae_core.stage.run import lifecycle as runner
from mae_core.training.precision import Precision
from mae_data.loading.batch import Batch
from mae_data.loading.sampler import EvalBatchSampler


class Loader:
    """Stands for the loader: remembers what it was made for and yields one batch of noise."""

    def __init__(self, dataset: Any, sampler: Any, *, num_workers: int, timeout: float, **rest: Any) -> None:
        self.dataset, self.sampler, self.num_workers, self.timeout = dataset, sampler, num_workers, timeout

    @property
    def size(self) -> tuple[int, int]:
        transform = self.dataset.transform
        return getattr(transform, "crop", transform).size if hasattr(transform, "rand_augment") else transform.size

    def __iter__(self) -> Iterator[Any]:
        import paddle

        indices = np.array([index for _, index in next(iter(self.sampler))])
        shape = (len(indices), *self.size, self.dataset.channels)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        yield Batch(*(paddle.to_tensor(x) for x in (images, indices % 3, indices)))


class AskedPrecision(Precision):
    """Remembers what was asked for, and computes in float32."""

    def __init__(self, amp: bool, dtype: str, info: Callable[[str], None]) -> None:
        super().__init__(False, dtype, info)  # float16 is for GPUs
        self.asked = (amp, dtype)


@dataclass
class Wired:
    """What `train` handed on."""

    begin: dict[str, Any] = field(default_factory=dict)
    described: tuple[Any, ...] = ()
    opened: str = ""  # folder of the run
    output: str = ""  # folder that the summary names
    trainer: Any = None
    loader: Any = None  # of the training images
    eval_loader: Any = None  # of the images that a validation scored, where the stage has one

    @property
    def model(self) -> Any:
        return self.trainer.model

    @property
    def plan(self) -> Any:
        return self.trainer.plan

    def make_loader(self, dataset: Any, sampler: Any, **kwargs: Any) -> Loader:
        loader = Loader(dataset, sampler, **kwargs)
        if isinstance(sampler, EvalBatchSampler):
            self.eval_loader = loader
        return loader

    def lr(self, epoch: float) -> float:
        return float(self.trainer.lr_at(epoch))


Read = Callable[[Wired], Any]


@dataclass(frozen=True)
class Wire:
    """A value that is not the default's, and readings of it: each must give the value, or what `arrives` says."""

    value: Any
    reads: tuple[Read, ...]
    arrives: Any = None

    def also(self, *reads: Read) -> Wire:
        return replace(self, reads=(*self.reads, *reads))

    def check(self, wired: Wired, *reads: Read) -> None:
        expected = self.value if self.arrives is None else self.arrives
        for read in reads or self.reads:
            assert read(wired) == pytest.approx(expected)


def wire(value: Any, *reads: Read, arrives: Any = None) -> Wire:
    return Wire(value, reads, arrives)


OUTSIDE = "../outside.jpg"


def write_lists(folder: Path) -> None:
    """Write lists of images that are never opened, under other names than the defaults."""
    (folder / "images").mkdir(exist_ok=True)
    for name, number in (("a.txt", 40), ("b.txt", 11)):
        lines = [f"{i}.jpg {i % 3}\n" for i in range(number)]
        (folder / "images" / name).write_text("".join([*lines[:-1], f"{OUTSIDE} 0\n"]))


def put_together(recipe: Recipe, wires: Mapping[str, Wire], folder: Path) -> Wired:
    """Run a stage's `train` on a config with these values, without weights, loop and loaders."""
    write_lists(folder)
    found, module = Wired(), import_module(f"{recipe.package}.train")
    scores = find_spec(f"{recipe.package}.evaluate")

    def fit(trainer: Any, loader: Any, output: str) -> None:
        found.trainer, found.loader, found.output = trainer, loader, output

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(settings, "Precision", AskedPrecision)
        patch.setattr(runner, "open_run", lambda output: setattr(found, "opened", output))
        patch.setattr(runner, "begin", lambda trainer, **kwargs: found.begin.update(kwargs))
        patch.setattr(runner, "log_run", lambda *args: setattr(found, "described", args))
        patch.setattr(runner, "fit", fit)
        patch.setattr(module, "make_loader", found.make_loader)
        if scores:
            patch.setattr(import_module(scores.name), "make_loader", found.make_loader)
        config = recipe.load(None, {key: wire.value for key, wire in wires.items()})
        module.train(Opened(config, weights=config.MODEL.PRETRAINED))  # the name stands for what it names
        if found.trainer.validation.evaluate:
            found.trainer.validation.evaluate(found.model, 0, lambda: False)
    return found


def assert_evaluation_is_wired(recipe: Recipe, wires: Mapping[str, Wire], folder: Path, load: str) -> None:
    """Require of `-eval` what is required of validation, and the tables in the run's folder, tried before scoring.

    Args:
        load: the function that loads the weights, which are not there.
    """
    module, found = import_module(f"{recipe.package}.evaluate"), Wired()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(settings, "Precision", AskedPrecision)
        write_lists(folder)
        patch.setattr(module, "make_loader", found.make_loader)
        patch.setattr(module, "require_weights", lambda weights: weights)
        patch.setattr(module, load, lambda *args: None)
        values = {key: wire.value for key, wire in wires.items()}
        with pytest.raises(UserError, match="cannot be written"):
            module.evaluate(recipe.load(None, values | {"SAVE": "images/a.txt"}), None)
        assert found.eval_loader is None
        module.evaluate(recipe.load(None, values), None)
        confusion = np.loadtxt(folder / wires["SAVE"].value / "eval/confusion.csv", delimiter=",")
    assert confusion.shape == (wires["MODEL.NUM_CLASSES"].value,) * 2
    assert found.eval_loader.dataset.on_error == "raise"
    for key in SCORED.keys() & wires.keys():
        wires[key].check(found, SCORED[key])


def assert_frequency_zero_validates_never(recipe: Recipe, wires: Mapping[str, Wire], folder: Path) -> None:
    trainer = put_together(recipe, {**wires, "VALIDATE_FREQ": wire(0)}, folder).trainer
    steps = trainer.plan.total_steps
    assert not any(trainer.validation.due(step, steps) for step in range(1, steps + 1))


def assert_every_key_is_wired(recipe: Recipe, wires: Mapping[str, Wire], elsewhere: set[str]) -> None:
    """Require a wire, or a word on why there is none, for each key, and a value that is not the default."""
    assert set(recipe.keys) == set(wires) | FIXED | elsewhere
    assert not [key for key, wire in wires.items() if wire.value == recipe.keys[key].default]


def assert_seed_decides_weights(build_model: Callable[[Any], Any], recipe: Recipe, wires: Mapping[str, Wire]) -> None:
    values = {key: wire.value for key, wire in wires.items()}
    weights = [build_model(recipe.load(None, values | {"SEED": s})).cls_token.numpy() for s in (1, 2, 1)]
    assert (weights[0] == weights[2]).all()
    assert (weights[0] != weights[1]).all()


def class_weights(wired: Wired) -> Any:
    """Return what the loss weighs classes by: the probe's own argument, or the mixer's."""
    (given,) = wired.trainer.loss_fn.args
    return getattr(given, "class_weights", given)


def head_width(wired: Wired) -> int:
    biases = [p for name, p in wired.model.named_parameters() if name in ("head.bias", "head.1.bias")]
    return int(biases[0].shape[0])


# 40 images, a global batch of 4 x 3: 3 steps per epoch.
COMMON = {
    "DATA.DATA_PATH": wire("images", lambda w: str(w.loader.dataset.images.root)),
    "DATA.TRAIN_LIST": wire("a.txt", lambda w: Path(w.loader.dataset.images.list_file).name),
    "DATA.ALLOW_OUTSIDE": wire(True, lambda w: w.loader.dataset.images.path(39) == OUTSIDE),
    "DATA.BATCH_SIZE": wire(4, lambda w: w.loader.sampler.batch_size, lambda w: w.plan.batch_size),
    "DATA.IMAGE_SIZE": wire([8, 12], lambda w: w.model.img_size, lambda w: w.loader.size, arrives=(8, 12)),
    "DATA.IMAGE_CHANNELS": wire(1, lambda w: w.model.in_chans, lambda w: w.loader.dataset.channels),
    "DATA.BANDS": wire(["nir"], lambda w: w.loader.dataset.bands == ("nir",), arrives=True),
    "DATA.EXIF": wire(False, lambda w: w.loader.dataset.exif, lambda w: w.model.exif),
    "DATA.NODATA": wire(-9.0, lambda w: w.loader.dataset.nodata.value, lambda w: w.model.nodata),
    "DATA.VALUE_RANGE": wire(250, lambda w: w.model.value_span, lambda w: w.loader.dataset.limits.high),
    "DATA.IMAGENET_MEAN": wire(
        [0.4], lambda w: w.model.pixel_mean, lambda w: w.loader.dataset.nodata.mean, arrives=(0.4,)
    ),
    "DATA.IMAGENET_STD": wire([0.3], lambda w: w.model.pixel_std, arrives=(0.3,)),
    "DATA.NUM_WORKERS": wire(5, lambda w: w.loader.num_workers),
    "DATA.TIMEOUT": wire(77.0, lambda w: w.loader.timeout),
    "DATA.DECODER": wire("fast", lambda w: w.loader.dataset.decoder),
    "DATA.ON_ERROR": wire("raise", lambda w: w.loader.dataset.on_error),
    "DATA.MAX_BAD": wire(7, lambda w: w.loader.dataset.bad.most),
    "MODEL.NAME": wire("odd", lambda w: w.described[1]),
    "MODEL.PRETRAINED": wire("weights", lambda w: w.begin["weights"]),
    "MODEL.RESUME": wire("run", lambda w: w.begin["resume"]),
    "MODEL.PATCH_SIZE": wire(4, lambda w: w.model.patch_size),
    "MODEL.MLP_RATIO": wire(1.5, lambda w: w.model.blocks[0].mlp.fc1.weight.shape[1] / 12),
    "MODEL.QKV_BIAS": wire(False, lambda w: w.model.blocks[0].attn.qkv.bias is not None),
    "MODEL.ENCODER.EMBED_DIM": wire(12, lambda w: w.model.embed_dim),
    "MODEL.ENCODER.DEPTH": wire(3, lambda w: len(w.model.blocks)),
    "MODEL.ENCODER.NUM_HEADS": wire(3, lambda w: w.model.blocks[0].attn.num_heads),
    "TRAIN.NUM_EPOCHS": wire(200, lambda w: w.plan.total_steps / 3, lambda w: min(range(300), key=w.lr)),
    "TRAIN.WARMUP_EPOCHS": wire(2, lambda w: max(range(20), key=w.lr)),
    "TRAIN.BASE_LR": wire(0.5, lambda w: w.lr(2) * 100 / 12),
    "TRAIN.LINEAR_SCALED_LR": wire(100, lambda w: round(0.5 * 12 / w.lr(2), 6)),
    "TRAIN.WARMUP_START_LR": wire(0.03, lambda w: w.lr(0)),
    "TRAIN.END_LR": wire(0.002, lambda w: w.lr(200)),
    "TRAIN.GRAD_CLIP": wire(0.3, lambda w: w.plan.clip_grad),
    "TRAIN.ACCUM_ITER": wire(3, lambda w: w.plan.accum_iter, lambda w: w.loader.sampler.accum_iter),
    "SAVE": wire("out", lambda w: w.opened, lambda w: w.output, lambda w: w.begin["output"]),
    "SAVE_FREQ": wire(2, lambda w: w.plan.save_freq / 3),
    "SAVE_KEEP": wire(6, lambda w: w.plan.keep),
    "REPORT_FREQ": wire(11, lambda w: w.plan.report_freq),
    "LOGGERS": wire(["visualdl"], lambda w: w.trainer.loggers),
    "SEED": wire(9, lambda w: w.plan.seed, lambda w: w.loader.sampler.seed, lambda w: w.loader.dataset.seed),
    "AMP": wire(True, lambda w: w.trainer.precision.asked[0]),
    "AMP_DTYPE": wire("float16", lambda w: w.trainer.precision.asked[1]),
}
# What validation and `-eval` read otherwise than training; the rest comes typed from the same functions.
SCORED: dict[str, Read] = {
    "DATA.DATA_PATH": lambda w: str(w.eval_loader.dataset.images.root),
    "DATA.VAL_LIST": lambda w: Path(w.eval_loader.dataset.images.list_file).name,
    "DATA.BATCH_SIZE_EVAL": lambda w: w.eval_loader.sampler.batch_size,
    "DATA.IMAGE_SIZE": lambda w: w.eval_loader.size,
    "DATA.CROP_PCT": lambda w: w.eval_loader.dataset.transform.crop_pct,
}
# All keys that fine-tuning and probing share.
CLASSIFIER = {
    **COMMON,
    "DATA.VAL_LIST": wire("b.txt"),
    "DATA.BATCH_SIZE_EVAL": wire(5),
    "DATA.CROP_PCT": wire(0.7),
    "MODEL.NUM_CLASSES": wire(4, head_width),
    # 14, 13 and 13 images, none of the last class
    "TRAIN.CLASS_WEIGHTS": wire("balanced", lambda w: class_weights(w).numpy(), arrives=[40 / 42, 40 / 39, 40 / 39, 0]),
    "TRAIN.BEST_BY": wire("auroc", lambda w: w.trainer.validation.best_by),
    "VALIDATE_FREQ": wire(3, lambda w: w.trainer.validation.every / 3),
}
CLASSIFIER |= {key: CLASSIFIER[key].also(read) for key, read in SCORED.items()}
# One value is allowed, or nothing is computed from it: the choice itself is tested with the recipes. CHANNELS_FROM is
# read where weights are opened: test_other_channels.py.
FIXED = {"MODEL.TYPE", "MODEL.CHANNELS_FROM", "EVAL"}
