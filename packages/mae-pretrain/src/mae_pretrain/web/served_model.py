"""A model's answers on one image, as plain values and PNGs that a page shows."""

import io
from pathlib import Path
from typing import TypedDict

import numpy as np
import paddle
from paddle import Tensor

from mae_core.errors import UserError
from mae_core.evaluation.attention import attention_weights, class_maps
from mae_core.models import MaskedAutoencoderViT, VisionTransformer
from mae_core.ops import MaskKey
from mae_core.ops.patches import unit_patches
from mae_core.report.image_server import MAX_PIXELS, data_uri, name_of, taken_images, unusable
from mae_core.stage.saved_model import model_of
from mae_core.weights.checkpoint_folder import open_weights
from mae_data.drawing import choose_bands
from mae_data.errors import DataError, ImageError
from mae_data.loading.loader import as_paddle_takes
from mae_data.loading.preprocess import ModelInput
from mae_pretrain.pictures import USUAL_CROP
from mae_pretrain.reconstruction import masked_error, predict_patches, to_images
from mae_pretrain.visualize import columns_of

TOPK = 5


class Description(TypedDict):
    """What the page shows of the model; `can` names the requests that are answered, `takes` the image files."""

    name: str
    takes: str
    can: list[str]
    size: list[int]
    grid: list[int]
    normalized: bool


class Reconstructed(TypedDict):
    """Pictures as URLs, a 0 or 1 for each patch (1 removed), and the mean squared error of the removed pixels."""

    original: str
    reconstruction: str
    removed: str
    error: float


class Attended(TypedDict):
    """A picture as a URL, and a weight for each head and patch."""

    original: str
    heads: list[list[float]]


class LikelyClass(TypedDict):
    """A class and its probability."""

    name: str
    probability: float


class ServedModel:
    """A model that answers questions on images.

    Args:
        model: as `mae_core.load` gives it.
        name: what to call it.
        crop_pct: part of an image's shorter side that is kept; None: the model's own.
    """

    def __init__(
        self, model: MaskedAutoencoderViT | VisionTransformer, name: str, crop_pct: float | None = None
    ) -> None:
        self.model, self.name = model, name
        model.eval()
        self._given = ModelInput.of(model, crop_pct)
        self._takes = taken_images(model.in_chans, model.value_range, model.bands)
        self._shown = choose_bands(model.pixel_mean, model.pixel_std, model.value_range)

    @classmethod
    def load(cls, path: str | Path) -> "ServedModel":
        """Load a run folder, checkpoint folder or weight file.

        Raises:
            CheckpointError: no model.
            UserError: a model that says something else than one class of each image.
        """
        weights = open_weights(path)
        if (task := weights.config.get("MODEL", {}).get("TASK", "classify")) != "classify":
            raise UserError(f"{path} is of MODEL.TASK={task}: mae-finetune serve {path} shows what it says")
        model = model_of(weights)
        usual = USUAL_CROP if isinstance(model, MaskedAutoencoderViT) else None
        return cls(model, name_of(Path(path)), model.crop_pct or usual)

    def describe(self) -> Description:
        """Return what the page shows of the model."""
        m = self.model
        if isinstance(m, MaskedAutoencoderViT):
            can, normalized = ["reconstruct", "attend"], m.norm_pix_loss
        else:
            can, normalized = ["attend", "classify"] if m.num_classes else ["attend"], False
        return {
            "name": self.name,
            "takes": self._takes,
            "can": can,
            "size": [*m.img_size],
            "grid": [*m.grid],
            "normalized": normalized,
        }

    def reconstruct(self, data: bytes, ratio: float, seed: int, removed: str) -> Reconstructed:
        """Remove patches and predict them.

        Args:
            data: an image file.
            ratio: share to remove, in (0, 1), drawn by the seed.
            removed: a 0 or 1 for each patch, 1 = remove, instead of a drawn mask; empty where it is to be drawn.

        Raises:
            UserError: the model has no decoder, or the mask does not fit.
            DataError: data is no usable image.
        """
        m = self.model
        if not isinstance(m, MaskedAutoencoderViT):
            raise UserError(f"{self.name} has no decoder, so it reconstructs nothing; serve a pre-training run")
        if not removed:
            self._check_ratio(ratio)
        images, mask = self._read(data), self._mask(removed) if removed else None
        key = MaskKey(seed, 0, paddle.arange(1)) if mask is None else None
        recon = predict_patches(m, images, ratio, key, mask)
        pasted = columns_of(m, recon, self._shown)[3][0]
        drawn = recon.mask.numpy()[0].astype(int)
        return {
            "original": self._picture(images),
            "reconstruction": data_uri(pasted),
            "removed": "".join(map(str, drawn)),
            "error": float(masked_error(recon, recon.predicted)[0]),
        }

    def attend(self, data: bytes) -> Attended:
        """Return what the class token attends to in the last block: a weight per head and patch."""
        images = self._read(data)
        maps = class_maps(attention_weights(self.model, images, last=1)[0], self.model.grid)[0]
        heads = np.round(maps.reshape(len(maps), -1).astype(np.float64), 5).tolist()
        return {"original": self._picture(images), "heads": heads}

    @paddle.no_grad()
    def classify(self, data: bytes) -> dict[str, list[LikelyClass]]:
        """Name the likeliest classes.

        Raises:
            UserError: the model has no head.
        """
        m = self.model
        if not isinstance(m, VisionTransformer) or not m.num_classes:
            raise UserError(f"{self.name} is no classifier; serve a fine-tuned run")
        chances = paddle.nn.functional.softmax(m(self._read(data)).astype("float32"), axis=-1).numpy()[0]
        names = m.class_names or [str(label) for label in range(m.num_classes)]
        best = np.argsort(-chances, kind="stable")[:TOPK]
        return {"classes": [{"name": names[i], "probability": float(chances[i])} for i in best]}

    def _read(self, data: bytes) -> Tensor:
        """Decode, resize and crop an image as evaluation does -> [1, H, W, C]."""
        try:
            image = self._given.read(io.BytesIO(data), MAX_PIXELS)
        except ImageError as error:
            raise DataError(unusable(error.reason, self._takes)) from None
        return paddle.to_tensor(as_paddle_takes(self._given.transform(image)[None]))

    def _check_ratio(self, ratio: float) -> None:
        count = self.model.grid[0] * self.model.grid[1]
        if not 0 < (keep := int(count * (1 - ratio))) < count:
            least, most = 1 / count, 1 - 1 / count
            raise UserError(
                f"a removed share of {ratio:g} leaves {keep} of {count} patches; give {least:.4f} to {most:.4f}"
            )

    def _mask(self, removed: str) -> Tensor:
        count = self.model.grid[0] * self.model.grid[1]
        if len(removed) != count or set(removed) != {"0", "1"}:
            raise UserError(
                f"the mask has {len(removed)} patches, {removed.count('1')} of them removed; give {count} times 0 or 1,"
                " at least one of each"
            )
        return paddle.to_tensor(np.array([[int(digit) for digit in removed]], np.float32))

    def _picture(self, images: Tensor) -> str:
        m = self.model
        unit = unit_patches(m.patchify(images), m.pixels)
        return data_uri(to_images(unit, m.patch_size, m.grid, self._shown)[0])
