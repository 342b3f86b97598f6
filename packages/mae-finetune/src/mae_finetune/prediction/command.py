"""What `mae-finetune predict` prints and writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mae_core.errors import UserError
from mae_core.files import prepare_output, refuse_unwritable, try_folder, write_output
from mae_core.process import log
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.run.scores_file import prepare_json, write_json
from mae_data.images.geotiff import require_rasterio, write_map
from mae_data.loading.bad_images import BadImages
from mae_data.loading.preprocess import find_images
from mae_finetune.prediction.predictor import BATCH_SIZE, ImageMap, Predictor
from mae_finetune.prediction.results import Said, as_csv, as_json
from mae_finetune.segmentation.prediction import MaskFiles, MaskPredictor
from mae_finetune.tasks import task_of

_ENDINGS = {"map": (".tif",), "masks": (".png", ".tif", ".npy")}  # of the files in these folders


@dataclass(frozen=True)
class PredictionFiles:
    """Where predictions are written.

    Args:
        json, csv: a file; "-" is standard output, which then holds nothing else; None: nowhere.
        maps: folder for a GeoTIFF of each image.
        masks: folder for the mask of each image, of a segmentation model.
        probabilities: whether masks have a file of probabilities beside them.
    """

    json: str | None = None
    csv: str | None = None
    maps: str | None = None
    masks: str | None = None
    probabilities: bool = False

    def prepare(self) -> None:
        """Refuse, before the work, what cannot be written; keep standard output free for predictions."""
        if self.json == self.csv == "-":
            raise UserError("--json - and --csv - would both write to standard output; name a file for one of them")
        log.setup()
        log.use_stderr()
        prepare_json(self.json)
        if self.maps:
            require_rasterio()
        if self.csv and self.csv != "-":
            prepare_output(Path(self.csv), _advice("csv"))
        for flag, folder in (("map", self.maps), ("masks", self.masks)):
            if folder:
                with refuse_unwritable(Path(folder), _advice(flag)):
                    try_folder(Path(folder))

    def check(self, task: str, images: Sequence[str]) -> None:
        """Refuse files that a task does not have, images that would have one file, and to write over an image."""
        if self.maps and task == "segment":
            raise UserError(
                "--map is for models that name one class of each window; --masks FOLDER writes what this one says"
            )
        if self.masks and task != "segment":
            raise UserError(f"--masks is for segmentation models; this one is of MODEL.TASK={task}")
        for flag, folder in [(flag, folder) for flag, folder in (("map", self.maps), ("masks", self.masks)) if folder]:
            first, place = dict[str, str](), Path(folder).resolve()
            for image in images:
                if Path(image).resolve().parent == place and Path(image).suffix in _ENDINGS[flag]:
                    raise UserError(f"--{flag} {folder} would write over {image}; {_advice(flag)}")
                if (other := first.setdefault(Path(image).stem, image)) != image:
                    raise UserError(
                        f"{other} and {image} would have one file: predict them apart, with another --{flag} each"
                    )

    def write(self, weights: str, columns: Sequence[str], predictions: Sequence[Said]) -> None:
        """Write all predictions as JSON and as a table, where asked for."""
        write_json(self.json, {"weights": weights, "predictions": as_json(predictions)})
        if self.csv == "-":
            print(as_csv(columns, predictions), end="")
        elif self.csv:
            with refuse_unwritable(Path(self.csv), _advice("csv")):
                write_output(Path(self.csv), as_csv(columns, predictions).encode())


def run_predict(
    opened: Opened,
    paths: Sequence[str],
    files: PredictionFiles,
    *,
    topk: int | None = None,
    batch_size: int = BATCH_SIZE,
    overlap: int | None = None,
) -> None:
    """Predict what images show and print a line for each, as they come; write files where asked for.

    Args:
        opened: the config of a run, and its weights.
        paths: image files and folders.
        overlap: pixels that neighbouring windows share, of which each gets a line; None: whole images. A segmentation
            model says one thing of all windows of an image, which share a third of a side where this is None.

    Raises:
        UserError: weights, names or files that cannot be used.
        DataError: images that cannot be read: more than DATA.MAX_BAD, or one where DATA.ON_ERROR is "raise".
    """
    files.prepare()
    images, config = find_images(paths), opened.config
    files.check(config.MODEL.TASK, images)
    bad = BadImages(len(images), config.DATA.MAX_BAD) if config.DATA.ON_ERROR == "skip" else None
    predictor = task_of(config).predictor(opened)
    predictions: list[Said] = []
    for said in _predictions(predictor, images, files, topk, batch_size, overlap, config.DATA.NUM_WORKERS, bad):
        predictions.append(said)
        if "-" not in (files.json, files.csv):
            print(said.line(), flush=True)
    files.write(config.MODEL.PRETRAINED, predictor.columns, predictions)
    for line in bad.lines(lambda place: images[place]) if bad else ():
        log.LOGGER.warning(line)


def _predictions(
    predictor: Predictor[Said],
    images: Sequence[str],
    files: PredictionFiles,
    topk: int | None,
    batch_size: int,
    overlap: int | None,
    workers: int,
    bad: BadImages | None,
) -> Iterator[Said]:
    if isinstance(predictor, MaskPredictor):
        masks = MaskFiles(Path(files.masks), files.probabilities) if files.masks else None
        return predictor.predict(images, topk, batch_size, bad=bad, overlap=overlap, files=masks)
    if overlap is None:
        few = len(images) <= batch_size  # for a handful, workers take longer to start
        return predictor.predict(images, topk, batch_size, 0 if few else workers, bad)
    draw = partial(_write_map, predictor, images, files.maps) if files.maps else lambda number, drawn: None
    return predictor.predict_windows(images, overlap, topk, batch_size, workers, bad, draw)


def _advice(flag: str) -> str:
    return f"choose another with --{flag}"


def _write_map(predictor: Predictor[Said], images: Sequence[str], folder: str, number: int, drawn: ImageMap) -> None:
    """Write what is said of the cells as the bands of a GeoTIFF."""
    names, cells = predictor.bands(drawn.values)
    path = Path(folder) / f"{Path(images[number]).stem}.tif"
    with refuse_unwritable(path, _advice("map")):
        write_map(path, cells, names, images[number], drawn.cell)
    log.LOGGER.info(f"{path}: {cells.shape[0]} x {cells.shape[1]} cells of {drawn.cell[0]} x {drawn.cell[1]} pixels")
