"""What `mae-finetune predict` prints and writes."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mae_core.errors import UserError
from mae_core.files import refuse_unwritable, try_folder, write_output
from mae_core.process import log
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.run.scores_file import prepare_json, write_json
from mae_data.images.geotiff import require_rasterio, write_map
from mae_data.loading.bad_images import BadImages
from mae_data.loading.preprocess import find_images
from mae_finetune.predicted import Said, as_csv, as_json
from mae_finetune.predictor import BATCH_SIZE, ImageMap, Predictor
from mae_finetune.segmentation.prediction import MaskFiles, MaskPredictor
from mae_finetune.tasks import task_of

_ADVICE = "choose another with --csv"
_MAP_ADVICE = "choose another with --map"


def run_predict(
    opened: Opened,
    paths: Sequence[str],
    *,
    topk: int | None = None,
    batch_size: int | None = None,
    overlap: int | None = None,
    maps: str | None = None,
    masks: str | None = None,
    probabilities: bool = False,
    json: str | None = None,
    csv: str | None = None,
) -> None:
    """Ask a model about images and print a line for each, as they come; write JSON or a table where asked for.

    Args:
        opened: the config of a run, and its weights.
        paths: image files and folders.
        overlap: pixels that neighbouring windows share, of which each gets a line; None: whole images. A segmentation
            model says one thing of all windows of an image, which share a third of a side where this is None.
        maps: folder for a GeoTIFF of each image.
        masks: folder for the mask of each image, of a segmentation model.
        probabilities: whether masks have a file of probabilities beside them.
        json, csv: files to write; "-" is standard output, which then holds nothing else.

    Raises:
        UserError: weights, names or files that cannot be used.
        DataError: images that cannot be read: more than DATA.MAX_BAD, or one where DATA.ON_ERROR is "raise".
    """
    if json == csv == "-":
        raise UserError("--json - and --csv - would both write to standard output; name a file for one of them")
    log.setup()
    log.use_stderr()  # standard output is for predictions
    prepare_json(json)
    if csv and csv != "-":
        with refuse_unwritable(Path(csv), _ADVICE):
            try_folder(Path(csv).parent)
    if maps:
        require_rasterio()
        with refuse_unwritable(Path(maps), _MAP_ADVICE):
            try_folder(Path(maps))
    if masks:
        with refuse_unwritable(Path(masks), "choose another with --masks"):
            try_folder(Path(masks))
    images, config = find_images(paths), opened.config
    is_segmented = config.MODEL.TASK == "segment"
    if maps and is_segmented:
        raise UserError(
            "--map is for models that name one class of each window; --masks FOLDER writes what this one says"
        )
    if masks and not is_segmented:
        raise UserError(f"--masks is for segmentation models; this one is of MODEL.TASK={config.MODEL.TASK}")
    if maps:
        _refuse_equal_names(images, "map")
    if masks:
        _refuse_equal_names(images, "masks")
    predictions, batch_size = [], batch_size or BATCH_SIZE
    workers = config.DATA.NUM_WORKERS if len(images) > batch_size else 0  # for a handful they take longer to start
    bad = BadImages(len(images), config.DATA.MAX_BAD) if config.DATA.ON_ERROR == "skip" else None
    predictor = task_of(config).predictor(opened)
    said: Iterable[Said]
    if isinstance(predictor, MaskPredictor):
        files = MaskFiles(Path(masks), probabilities) if masks else None
        said = predictor.predict(images, topk, batch_size, bad=bad, overlap=overlap, files=files)
    elif overlap is None:
        said = predictor.predict(images, topk, batch_size, workers, bad)
    else:
        draw = partial(_write_map, predictor, images, maps) if maps else lambda number, drawn: None
        workers = config.DATA.NUM_WORKERS
        said = predictor.predict_windows(images, overlap, topk, batch_size, workers, bad, draw)
    for prediction in said:
        predictions.append(prediction)
        if "-" not in (json, csv):
            print(prediction.line(), flush=True)
    write_json(json, {"weights": config.MODEL.PRETRAINED, "predictions": as_json(predictions)})
    if csv == "-":
        print(as_csv(predictor.columns, predictions), end="")
    elif csv:
        with refuse_unwritable(Path(csv), _ADVICE):
            write_output(Path(csv), as_csv(predictor.columns, predictions).encode())
    for line in bad.lines(lambda place: images[place]) if bad else ():
        log.LOGGER.warning(line)


def _refuse_equal_names(images: Sequence[str], flag: str) -> None:
    first: dict[str, str] = {}
    for image in images:
        if (other := first.setdefault(Path(image).stem, image)) != image:
            raise UserError(f"{other} and {image} would have one file: predict them apart, with another --{flag} each")


def _write_map(predictor: Predictor[Any], images: Sequence[str], folder: str, number: int, drawn: ImageMap) -> None:
    """Write what is said of the cells as the bands of a GeoTIFF."""
    names, cells = predictor.bands(drawn.values)
    path = Path(folder) / f"{Path(images[number]).stem}.tif"
    with refuse_unwritable(path, _MAP_ADVICE):
        write_map(path, cells, names, images[number], drawn.cell)
    log.LOGGER.info(f"{path}: {cells.shape[0]} x {cells.shape[1]} cells of {drawn.cell[0]} x {drawn.cell[1]} pixels")
