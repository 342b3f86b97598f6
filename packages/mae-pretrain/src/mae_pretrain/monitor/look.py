"""Looks at a model while it is pre-trained or refined: held-out loss, pictures, and what its features are worth.

The loss shows how well pixels are predicted, not how good the features are. What kNN finds in them stands beside what
it finds without training: in the features of random weights, and in raw pixels. A look leaves the random generator as
it was and changes no weight, so a run with looks trains as one without.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor, nn

from mae_core.evaluation.features import accuracy_by_k, fit_whitening, rankme
from mae_core.evaluation.raw_pixels import pixel_features
from mae_core.files import png_bytes, prepare_output, write_output
from mae_core.models import MaskedAutoencoderViT
from mae_core.models.encoder import ViTEncoder
from mae_core.process import distributed, log
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import encoder_of
from mae_core.training.precision import Precision
from mae_core.training.validation import Validation
from mae_data.errors import DataError
from mae_data.loading.batch import Batch
from mae_pretrain.build import mask_noise
from mae_pretrain.monitor.images import MonitoredImages, readable
from mae_pretrain.monitor.strips import STRIPS, write_strip
from mae_pretrain.reconstruction import split_coverage
from mae_pretrain.visualize import NORM_PIX_CAPTION, draw_grid, masked_columns, ratio_caption

NEIGHBOURS = 20


def monitoring(config: Config, precision: Precision, steps_per_epoch: int, run: Path | None) -> Validation:
    """Make what looks at the model every MONITOR.EVERY epochs and after the last step; 0 looks never.

    Args:
        run: folder of the run, in which `monitor/` holds the pictures; None on ranks that write nothing.
    """
    if not config.MONITOR.EVERY:
        return Validation(best_by=None)
    monitor = Monitor(config, precision, run / "monitor" if run else None)
    every = config.MONITOR.EVERY * steps_per_epoch
    return Validation(monitor.look, every=every, best_by=None, skipped=monitor.skipped)


@dataclass(frozen=True)
class Encoded:
    """What a model makes of images.

    Args:
        features: float32 [M, D], mean tokens.
        labels: int64 [M]; None where the data have none.
        loss: mean over the images; 0 where none was asked for.
        pixels: float32 [M, P], the images themselves, scaled down; P is 0 where they were not asked for.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    loss: float
    pixels: NDArray[np.float32]


class Monitor:
    """Scores a model on held-out images, and by its features of these and of training images.

    Args:
        pictures: folder for `step_*.png`; None draws none.
    """

    def __init__(self, config: Config, precision: Precision, pictures: Path | None) -> None:
        self.config, self.precision, self.pictures = config, precision, pictures
        self.val = MonitoredImages(config, config.DATA.VAL_LIST, config.MONITOR.VAL_IMAGES)
        self.train = MonitoredImages(config, config.DATA.TRAIN_LIST, config.MONITOR.TRAIN_IMAGES)
        if pictures:
            prepare_output(pictures / "step.png")
        known = self.val.labels is not None and self.train.labels is not None
        log.log_lines(self.val.dataset.images.notes)
        log.LOGGER.info(
            f"monitor: every {config.MONITOR.EVERY} epochs, {len(self.val.chosen):,} held-out images;"
            + (f" kNN among {len(self.train.chosen):,} training images" if known else " no labels, so no kNN")
        )
        self.knows_labels = known
        self._untrained: dict[str, float] | None = None  # kNN without training, once it is known

    def skipped(self) -> list[str]:
        """Name the images that could not be read, a line each; those of training its own loader names."""
        return self.val.dataset.skipped()

    @paddle.no_grad()
    def look(self, model: nn.Layer, step: int, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Return the figures of a model in evaluation mode, and draw it; None when any rank was asked to stop.

        Returns:
            val_loss: an autoencoder's loss under masks that are the same at every look, mean over images.
            rankme: effective rank of the held-out images' mean tokens.
            knn_top1: accuracy in percent of kNN on mean tokens, where labels are known.
            knn_whitened_top1: the same on whitened ones, unless they are all the same.
            knn_random_init, knn_whitened_random_init: the two of random weights, the same at every look.
            knn_raw_pixels: kNN on the images themselves.
        """
        assert isinstance(model, ViTEncoder)
        with_loss = isinstance(model, MaskedAutoencoderViT)
        val = self._encode(model, self.val, should_stop, with_loss)
        train = self._encode(model, self.train, should_stop) if val and self.knows_labels else val
        if val is None or train is None:
            return None
        if self.knows_labels and self._untrained is None:
            self._untrained = self._score_untrained(should_stop)
            if self._untrained is None:
                return None
        figures = {"val_loss": val.loss} if with_loss else {}
        if distributed.is_main():
            self._draw(model, step)
            figures["rankme"] = rankme(val.features)
            if self.knows_labels:
                figures |= self._knn_figures(train, val) | (self._untrained or {})
        distributed.barrier()
        return figures

    def _knn_figures(self, train: Encoded, val: Encoded) -> dict[str, float]:
        figures = {"knn_top1": _knn(train, val)}
        try:
            whitening = fit_whitening(train.features)
        except ValueError:  # collapsed features, which RankMe shows, or one image
            return figures
        white = [replace(part, features=whitening(part.features)) for part in (train, val)]
        return figures | {"knn_whitened_top1": _knn(*white)}

    def _score_untrained(self, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Return what kNN finds without training, on the main rank; None when any rank was asked to stop."""
        model = untrained_encoder(self.config)
        val = self._encode(model, self.val, should_stop, with_pixels=True)
        train = self._encode(model, self.train, should_stop, with_pixels=True) if val else None
        if val is None or train is None:
            return None
        if not distributed.is_main():
            return {}
        found = self._knn_figures(train, val)
        figures = {name.replace("top1", "random_init"): accuracy for name, accuracy in found.items()}
        pixels = _knn(replace(train, features=train.pixels), replace(val, features=val.pixels))
        return figures | {"knn_raw_pixels": pixels}

    def _encode(
        self,
        model: ViTEncoder,
        subset: MonitoredImages,
        should_stop: Callable[[], bool],
        with_loss: bool = False,
        with_pixels: bool = False,
    ) -> Encoded | None:
        """Encode all ranks' images that can be read and, where asked, score them; None when any rank stopped."""
        features = np.zeros((len(subset.chosen), model.embed_dim), np.float32)
        width = pixel_features(paddle.zeros([1, *model.img_size, model.in_chans])).shape[1] if with_pixels else 0
        pixels = np.zeros((len(subset.chosen), width), np.float32)
        total, weights, ratio = 0.0, 0.0, self.config.MODEL.MASK_RATIO
        seen = np.zeros(len(subset.chosen), np.float32)
        stopped = False
        for images, indices in _readable(subset.batches(should_stop)):
            if stopped := should_stop():
                break
            images, valid = split_coverage(model.pixels, images)
            with self.precision.autocast():
                if with_loss:
                    noise = mask_noise(self.config, indices, epoch=0)
                    loss, _, mask = model(images, ratio, noise=noise, valid=valid, return_pred=False)
                    weight = len(images) if valid is None else float((mask * valid).sum())
                    total, weights = total + float(loss) * weight, weights + weight
                tokens = model.forward_intermediates(images, [-1])[0][:, 1:]
            places = np.searchsorted(subset.chosen, indices.numpy())
            features[places] = tokens.astype("float32").mean(axis=1).numpy()
            if with_pixels:
                pixels[places] = pixel_features(images).numpy()
            seen[places] = 1
        count, total, weights = distributed.sum_over_ranks([float(stopped), total, weights])
        if count:
            return None
        used = distributed.sum_array(seen) > 0
        if not used.any():
            raise DataError(f"{subset.dataset.images.name}: not one of the images that are looked at can be read")
        labels = None if subset.labels is None else subset.labels[used]
        pixels = distributed.sum_array(pixels) if with_pixels else pixels
        return Encoded(distributed.sum_array(features)[used], labels, total / max(weights, 1.0), pixels[used])

    def _draw(self, model: ViTEncoder, step: int) -> None:
        """Write the pictures of some held-out images, the same ones under the same masks at every look."""
        if not self.pictures or not isinstance(model, MaskedAutoencoderViT):
            return
        rows = self.val.chosen[np.linspace(0, len(self.val.chosen) - 1, self.config.MONITOR.PICTURES).astype(int)]
        images, rows = readable(self.val.dataset, rows)
        if not len(rows):
            return
        columns = masked_columns(self.config, model, images, rows)
        caption = f"{self.config.MODEL.NAME} after step {step}, {ratio_caption(self.config)}"
        if model.norm_pix_loss:
            caption += f"\n{NORM_PIX_CAPTION}"
        path = self.pictures / f"step_{step:08d}.png"
        try:
            write_output(path, png_bytes(draw_grid(columns, caption).save))
            write_strip(self.pictures / STRIPS / path.name, columns)
        except OSError as error:  # a picture is not worth the run
            log.LOGGER.warning(f"{path} cannot be written ({error.strerror}); training goes on")


def untrained_encoder(config: Config) -> ViTEncoder:
    """Build the encoder of a config with the weights that pre-training from SEED begins with, ready to evaluate."""
    state = paddle.get_rng_state()
    paddle.seed(config.SEED)
    with values_from_config():
        model = ViTEncoder(trainable_pos=False, **encoder_of(config))
    paddle.set_rng_state(state)
    model.eval()
    return model


def _knn(train: Encoded, val: Encoded) -> float:
    assert train.labels is not None
    assert val.labels is not None
    k = min(NEIGHBOURS, len(train.features))
    return accuracy_by_k(train.features, train.labels, val.features, val.labels, [k])[k]


def _readable(batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images of batches that could be read, and their places."""
    for batch in batches:
        used = batch.indices.numpy() >= 0
        if used.all():
            yield batch.images, batch.indices
        elif used.any():
            rows = paddle.to_tensor(np.flatnonzero(used))
            yield batch.images[rows], batch.indices[rows]
