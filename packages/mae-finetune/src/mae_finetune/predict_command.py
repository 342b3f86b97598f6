"""What `mae-finetune predict` prints and writes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mae_core.errors import UserError
from mae_core.files import refuse_unwritable, try_folder, write_output
from mae_core.process import log
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.run.scores_file import prepare_json, write_json
from mae_data.images.geotiff import require_rasterio, write_map
from mae_data.loading.bad_images import BadImages
from mae_data.loading.preprocess import find_images
from mae_finetune.prediction import BATCH_SIZE, Classifier, ImageMap, as_csv, as_json

_ADVICE = "choose another with --csv"
_MAP_ADVICE = "choose another with --map"


def run_predict(
    opened: Opened,
    paths: Sequence[str],
    *,
    topk: int,
    batch_size: int | None = None,
    overlap: int | None = None,
    maps: str | None = None,
    json: str | None = None,
    csv: str | None = None,
) -> None:
    """Classify images and print a line for each, as they come; write them as JSON or as a table where asked for.

    Args:
        opened: the config of a run, and its weights.
        paths: image files and folders.
        overlap: pixels that neighbouring windows share, of which each gets a line; None: whole images.
        maps: folder for a GeoTIFF of each image.
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
    images, config = find_images(paths), opened.config
    if maps:
        _refuse_equal_names(images)
    predictions, batch_size = [], batch_size or BATCH_SIZE
    workers = config.DATA.NUM_WORKERS if len(images) > batch_size else 0  # for a handful they take longer to start
    bad = BadImages(len(images), config.DATA.MAX_BAD) if config.DATA.ON_ERROR == "skip" else None
    classifier = Classifier(opened)
    if overlap is None:
        said = classifier.predict(images, topk, batch_size, workers, bad)
    else:
        draw = partial(_write_map, classifier.names, images, maps) if maps else lambda number, drawn: None
        workers = config.DATA.NUM_WORKERS
        said = classifier.predict_windows(images, overlap, topk, batch_size, workers, bad, draw)
    for prediction in said:
        predictions.append(prediction)
        if "-" not in (json, csv):
            print(prediction.line(), flush=True)
    write_json(json, {"weights": config.MODEL.PRETRAINED, "predictions": as_json(predictions)})
    if csv == "-":
        print(as_csv(predictions), end="")
    elif csv:
        with refuse_unwritable(Path(csv), _ADVICE):
            write_output(Path(csv), as_csv(predictions).encode())
    for line in bad.lines(lambda place: images[place]) if bad else ():
        log.LOGGER.warning(line)


def _refuse_equal_names(images: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for image in images:
        if (other := first.setdefault(Path(image).stem, image)) != image:
            raise UserError(f"{other} and {image} would have one map: predict them apart, with another --map each")


def _write_map(names: Sequence[str], images: Sequence[str], folder: str, number: int, drawn: ImageMap) -> None:
    """Write the likeliest class and the probability of each as the bands of a GeoTIFF."""
    unknown = np.isnan(drawn.probabilities[..., :1])  # no window lies there
    likeliest = np.where(unknown, np.float32(np.nan), drawn.probabilities.argmax(axis=-1)[..., None])
    cells = np.concatenate([likeliest, drawn.probabilities], axis=-1).astype(np.float32)
    path = Path(folder) / f"{Path(images[number]).stem}.tif"
    with refuse_unwritable(path, _MAP_ADVICE):
        write_map(path, cells, ["label", *names], images[number], drawn.cell)
    log.LOGGER.info(f"{path}: {cells.shape[0]} x {cells.shape[1]} cells of {drawn.cell[0]} x {drawn.cell[1]} pixels")
