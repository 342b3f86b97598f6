"""Looks at a model while it is pre-trained: held-out loss, pictures, and what its features are worth.

The loss tells how well pixels are predicted, not how good the features are. A look draws nothing at random and changes
no weight, so a run with looks trains as one without.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from mae_core.errors import UserError
from mae_core.evaluation.knn import knn_accuracy
from mae_core.evaluation.rankme import rankme
from mae_core.evaluation.whitening import fit_whitening
from mae_core.models import MaskedAutoencoderViT
from mae_core.process import distributed, log
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import statistics_of
from mae_core.training.precision import Precision
from mae_core.training.validation import Validation
from mae_data.images.shown_bands import choose_bands
from mae_pretrain.build import mask_noise, masking_note
from mae_pretrain.coverage import split_coverage
from mae_pretrain.monitored_images import MonitoredImages
from mae_pretrain.png_file import prepare_png, write_png
from mae_pretrain.visualize import NORM_PIX_CAPTION, draw_grid, reconstruction_columns

NEIGHBOURS = 20


def monitoring(config: Config, precision: Precision, steps_per_epoch: int, run: Path | None) -> Validation:
    """Make what looks at the model every MONITOR.EVERY epochs and after the last step; 0 looks never.

    Args:
        run: folder of the run, in which `monitor/` holds the pictures; None on ranks that write nothing.
    """
    if not config.MONITOR.EVERY:
        return Validation(best_by=None)
    monitor = Monitor(config, precision, run / "monitor" if run else None)
    return Validation(monitor.look, every=config.MONITOR.EVERY * steps_per_epoch, best_by=None)


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
            prepare_png(pictures / "step.png")
        known = self.val.labels is not None and self.train.labels is not None
        log.say(self.val.dataset.images.notes)
        log.LOGGER.info(
            f"monitor: every {config.MONITOR.EVERY} epochs, {len(self.val.chosen):,} held-out images;"
            + (f" kNN among {len(self.train.chosen):,} training images" if known else " no labels, so no kNN")
        )
        self.knows_labels = known

    @paddle.no_grad()
    def look(self, model: nn.Layer, step: int, should_stop: Callable[[], bool]) -> dict[str, float] | None:
        """Return the figures of a model in evaluation mode, and draw it; None when any rank was asked to stop.

        Returns:
            val_loss: the model's loss under masks that are the same at every look, mean over images.
            rankme: effective rank of the held-out images' mean tokens.
            knn_top1: accuracy in percent of kNN on mean tokens, where labels are known.
            knn_whitened_top1: the same on whitened ones, unless they are all the same.
        """
        assert isinstance(model, MaskedAutoencoderViT)
        val = self._encode(model, self.val, should_stop, with_loss=True)
        train = self._encode(model, self.train, should_stop) if val and self.knows_labels else val
        if val is None or train is None:
            return None
        figures = {"val_loss": val[1]}
        if distributed.is_main():
            self._draw(model, step)
            figures["rankme"] = rankme(val[0])
            if self.knows_labels:
                figures |= self._knn_figures(train[0], val[0])
        distributed.barrier()
        return figures

    def _knn_figures(self, train: NDArray[np.float32], val: NDArray[np.float32]) -> dict[str, float]:
        figures = {"knn_top1": self._knn(train, val)}
        try:
            whitening = fit_whitening(train)
        except ValueError:  # collapsed features, which RankMe tells, or one image
            return figures
        return figures | {"knn_whitened_top1": self._knn(whitening(train), whitening(val))}

    def _knn(self, train: NDArray[np.float32], val: NDArray[np.float32]) -> float:
        assert self.train.labels is not None
        assert self.val.labels is not None
        k = min(NEIGHBOURS, len(train))
        return knn_accuracy(train, self.train.labels, val, self.val.labels, [k])[k]

    def _encode(
        self,
        model: MaskedAutoencoderViT,
        subset: MonitoredImages,
        should_stop: Callable[[], bool],
        with_loss: bool = False,
    ) -> tuple[NDArray[np.float32], float] | None:
        """Return mean tokens [M, D] of all ranks' images and, where asked, their loss; None when any rank stopped."""
        features = np.zeros((len(subset.chosen), model.embed_dim), np.float32)
        total, weights, ratio = 0.0, 0.0, self.config.MODEL.MASK_RATIO
        stopped = False
        for images, _, indices in subset.batches(should_stop):
            if stopped := should_stop():
                break
            images, valid = split_coverage(model.pixels, images)
            with self.precision.autocast():
                if with_loss:
                    noise = mask_noise(self.config, indices, epoch=0)
                    loss, _, mask = model(images, ratio, noise=noise, valid=valid, return_pred=False)
                    weight = len(images) if valid is None else float((mask * valid).sum())
                    total, weights = total + float(loss) * weight, weights + weight
                tokens = model.forward_features(images)[:, 1:]
            places = np.searchsorted(subset.chosen, indices.numpy())
            features[places] = tokens.astype("float32").mean(axis=1).numpy()
        count, total, weights = distributed.sum_over_ranks([float(stopped), total, weights])
        return None if count else (distributed.sum_array(features), total / max(weights, 1.0))

    def _draw(self, model: MaskedAutoencoderViT, step: int) -> None:
        """Write the pictures of some held-out images, the same ones under the same masks at every look."""
        if not self.pictures:
            return
        rows = self.val.chosen[np.linspace(0, len(self.val.chosen) - 1, self.config.MONITOR.PICTURES).astype(int)]
        images = np.stack([self.val.dataset[int(i)][0] for i in rows])
        noise = mask_noise(self.config, paddle.to_tensor(rows), epoch=0)
        with values_from_config():
            shown = choose_bands(*statistics_of(self.config), self.config.DATA.VALUE_RANGE)
        columns = reconstruction_columns(model, images, self.config.MODEL.MASK_RATIO, noise, shown)
        ratio = f"mask ratio {self.config.MODEL.MASK_RATIO:g}{masking_note(self.config)}"
        caption = f"{self.config.MODEL.NAME} after step {step}, {ratio}"
        if model.norm_pix_loss:
            caption += f"\n{NORM_PIX_CAPTION}"
        try:
            write_png(self.pictures / f"step_{step:08d}.png", draw_grid(columns, caption).save)
        except UserError as error:  # a picture is not worth the run
            log.LOGGER.warning(f"{error}; training goes on")
