"""What `mae-finetune predict` prints and writes."""

from collections.abc import Sequence
from pathlib import Path

from mae_core.errors import UserError
from mae_core.files import refuse_unwritable, try_folder, write_output
from mae_core.process import log
from mae_core.stage.config.from_weights import Opened
from mae_core.stage.run.scores_file import prepare_json, write_json
from mae_data.loading.bad_images import BadImages
from mae_data.loading.preprocess import find_images
from mae_finetune.predicted import as_csv, as_json
from mae_finetune.predictor import BATCH_SIZE
from mae_finetune.tasks import task_of

_ADVICE = "choose another with --csv"


def run_predict(
    opened: Opened,
    paths: Sequence[str],
    *,
    topk: int | None = None,
    batch_size: int | None = None,
    json: str | None = None,
    csv: str | None = None,
) -> None:
    """Ask a model about images and print a line for each, as they come; write JSON or a table where asked for.

    Args:
        opened: the config of a run, and its weights.
        paths: image files and folders.
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
    images, config = find_images(paths), opened.config
    predictions, batch_size = [], batch_size or BATCH_SIZE
    workers = config.DATA.NUM_WORKERS if len(images) > batch_size else 0  # for a handful they take longer to start
    bad = BadImages(len(images), config.DATA.MAX_BAD) if config.DATA.ON_ERROR == "skip" else None
    predictor = task_of(config).predictor(opened)
    for prediction in predictor.predict(images, topk, batch_size, workers, bad):
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
