"""A class of each pixel: UPerNet or a light head on the tokens of four blocks (paper section 5, appendix A.4)."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from paddle import nn

from mae_core.export.ports import Port
from mae_core.models import ViTEncoder
from mae_core.process import log
from mae_core.report.page import Page
from mae_core.stage.config.checks import require
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.stage.config.to_arguments import encoder_of
from mae_core.stage.config.to_data_arguments import cropping_of, eval_sampling_of, image_size_of, images_of
from mae_core.stage.run.model_card import Card
from mae_core.training.plan import Samples
from mae_core.training.precision import Precision
from mae_data.loading.dataset import ListDataset
from mae_data.loading.mask_dataset import MaskDataset
from mae_data.sources.list_file import class_colours
from mae_data.transforms.native_crop import make_scale_transform
from mae_data.transforms.pipelines import Transform, make_eval_transform
from mae_finetune.build import shown_bands
from mae_finetune.class_names import known_names, names_of, training_names
from mae_finetune.segmentation.model import SegmentationTransformer, segment_loss
from mae_finetune.segmentation.page import segmentation_page
from mae_finetune.segmentation.prediction import MaskPredictor
from mae_finetune.segmentation.scoring import MaskCounts, MaskScoring, report_masks
from mae_finetune.tasks.task import Evaluation, LossFn, OutputFacts, Task

HEAD_CHANNELS = {"upernet": 512, "light": 256}  # where MODEL.HEAD_CHANNELS states none

_UNSTATED = 1000  # MODEL.NUM_CLASSES by default: ImageNet's


class MaskEvaluation(Evaluation):
    """The validation list with its masks, scored by windows over all pixels."""

    usual_best = "miou"

    def __init__(self, config: Config, dataset: ListDataset) -> None:
        assert isinstance(dataset, MaskDataset)
        super().__init__(config, dataset)
        self._scoring = MaskScoring(dataset, shown_bands(config), eval_sampling_of(config)["batch_size"])
        self._colours = class_colours(config.DATA.DATA_PATH, config.MODEL.NUM_CLASSES)
        self._names: list[str] = []

    def counts(self, model: nn.Layer) -> MaskCounts:
        """Return empty counts."""
        return self._scoring.counts()

    def figures(self, counts: MaskCounts) -> dict[str, float]:
        """Return miou, pixel_accuracy and class_accuracy, in percent."""
        return counts.scores.figures()

    def report(self, counts: MaskCounts, seconds: float, output: str) -> dict[str, float]:
        """Report as `report_masks` does."""
        return report_masks(counts, seconds, output, self._names, self._colours)

    def score(
        self,
        model: nn.Layer,
        batches: Iterable[Samples],
        precision: Precision,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> MaskCounts | None:
        """Score whole images by windows; `batches` of one size are not what is scored."""
        self._names = known_names(self.config, model)
        return self._scoring.score(model, precision, should_stop)


class Segmentation(Task):
    """One class of K for each pixel."""

    card = Card(
        "Segmentation model, fine-tuned from a masked autoencoder",
        "Saying the class of each pixel.",
        "It knows its classes only and gives one of them for any pixel; its probabilities are not calibrated. How right"
        " it is on other kinds of images, or at another scale, than the validation list's is unknown until it is"
        " measured (-eval).",
        "miou",
        "mIoU {:.2f} %",
    )
    predictor, evaluation = MaskPredictor, MaskEvaluation
    sees_batches = True
    head_keys = ("MODEL.NUM_CLASSES", "MODEL.HEAD", "MODEL.HEAD_CHANNELS")

    def build(self, config: Config) -> SegmentationTransformer:
        """Build the model."""
        m = config.MODEL
        return SegmentationTransformer(
            num_classes=m.NUM_CLASSES,
            head=m.HEAD,
            head_channels=m.HEAD_CHANNELS or HEAD_CHANNELS[m.HEAD],
            **encoder_of(config, m.DROPPATH),
        )

    def train_dataset(self, config: Config) -> MaskDataset:
        """Open the training list, each image with its mask."""
        require(
            config.MODEL.NUM_CLASSES != _UNSTATED,
            f"MODEL.NUM_CLASSES={_UNSTATED} is the default: name the classes of the masks in classes.txt, a line each,"
            " or state how many there are",
        )
        low, high = config.DATA.SCALE_JITTER
        with values_from_config():
            transform = make_scale_transform(**cropping_of(config) | {"scale": (low, high)})
        return _dataset(config, config.DATA.TRAIN_LIST, transform, training=True)

    def eval_dataset(self, config: Config, list_name: str | None = None, *, dropping: bool = False) -> MaskDataset:
        """Open a list."""
        transform = make_eval_transform(image_size=image_size_of(config), crop_pct=1.0)
        return _dataset(config, list_name or config.DATA.VAL_LIST, transform, dropping=dropping)

    def take_in(self, config: Config, model: ViTEncoder, images: ListDataset) -> None:
        """Name the classes."""
        names = training_names(config, images.images)
        if names is None:
            log.LOGGER.warning(
                f"nothing names the {config.MODEL.NUM_CLASSES} classes (MODEL.NUM_CLASSES): write classes.txt into"
                f" {config.DATA.DATA_PATH}, a name a line, the first for the pixels of value 0"
            )
        assert isinstance(model, SegmentationTransformer)
        model.name_classes(names)

    def loss(self, config: Config, images: ListDataset) -> LossFn:
        """Return the cross-entropy of the pixels that count."""
        return partial(segment_loss, config.DATA.IGNORE)

    def output(self, config: Config) -> Port:
        """Describe the logits."""
        size = image_size_of(config)
        height, width = (size, size) if isinstance(size, int) else size
        shape = (config.MODEL.NUM_CLASSES, height, width)
        return Port("pixel_logits", shape, "float32", "softmax over the classes gives the probabilities of each pixel")

    def facts(self, config: Config, model: ViTEncoder) -> OutputFacts:
        """Return the classes, their colours, and how larger images are cut."""
        names = names_of(config, model)
        if names is None:
            log.LOGGER.warning("no names of the classes are known: export.json has none; DATA.CLASS_NAMES names them")
        colours: NDArray[np.uint8] = class_colours(config.DATA.DATA_PATH, config.MODEL.NUM_CLASSES)
        return {
            "classes": config.MODEL.NUM_CLASSES,
            "class_names": names,
            "class_colours": colours.tolist(),
            "prepare": {
                **({"take_bands": list(model.bands)} if model.bands else {}),
                "window": model.img_size,
                "overlap": min(model.img_size) // 3,
                "interpolation": "bicubic",
            },
            "windows": "images are cut into windows of this size that share a third of a side; of what overlaps, logits"
            " are averaged. An image that is smaller is cut into the largest windows of this shape that fit, resized",
        }

    def page(self, folder: str, compare: Sequence[str]) -> Page:
        """Put the page of a run together; see `segmentation_page`."""
        return segmentation_page(folder, compare)


def _dataset(
    config: Config, list_name: str, transform: Transform, *, training: bool = False, dropping: bool = False
) -> MaskDataset:
    images = images_of(config, "optional", training=training, dropping=dropping)
    classes, ignore = config.MODEL.NUM_CLASSES, config.DATA.IGNORE
    return MaskDataset(list_file=list_name, transform=transform, classes=classes, ignore=ignore, **images)


TASK = Segmentation()
