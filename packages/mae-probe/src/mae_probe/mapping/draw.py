"""`mae-probe map` and `mae_probe.image_map`: encode the images of a folder or list, and look at what lies near what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.errors import UserError
from mae_core.files import prepare_output
from mae_core.process import log
from mae_core.report.page import template_environment
from mae_core.stage.config.from_weights import Opened, load_config
from mae_core.stage.config.node import Config
from mae_core.stage.config.to_arguments import precision_of
from mae_core.training.precision import RoundedWeights
from mae_data.drawing import ShownImages
from mae_data.errors import DataError
from mae_data.loading.dataset import ListDataset
from mae_data.sources.source import NO_LABEL
from mae_probe.build import eval_dataset, shown_bands
from mae_probe.config import RECIPE
from mae_probe.evaluate import eval_batches
from mae_probe.extraction.encoding import begin_alone, encode_parts, grid_of, open_encoder, own_pool, take_parts
from mae_probe.extraction.pooling import POOLS, TOKENS, Part, block_numbers
from mae_probe.mapping import scores
from mae_probe.mapping.embedding_map import LISTED, PATCH_PICTURES, EmbeddingMap, Findings, examine
from mae_probe.mapping.sprite import photo_sprite, pixel_sprite
from mae_probe.model import LinearProbe

LIMIT, MOST = 10_000, 50_000


@dataclass(frozen=True)
class MapChoices:
    """What a map shows.

    Args:
        part: what is taken of the encoder's tokens.
        list_name: list below DATA.DATA_PATH; None: DATA.VAL_LIST.
        limit: most images, evenly over the list.
        umap: lay the images out by UMAP, too.
    """

    part: Part
    list_name: str | None = None
    limit: int = LIMIT
    umap: bool = False


def image_map(
    model: str | PathLike[str],
    data: str | PathLike[str],
    *,
    output: str | PathLike[str] | None = None,
    list_file: str | None = None,
    pool: str | None = None,
    block: int = -1,
    limit: int = LIMIT,
    umap: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> EmbeddingMap:
    """Look at the images of a folder through an encoder, as `mae-probe map` does.

    With whitened features (see `mapping.scores.whitened`), and k = 10:

    - neighbours of an image: the k images of highest cosine;
    - outlier score: mean Euclidean distance to its k neighbours;
    - near-duplicates: pairs of neighbours with cosine >= 0.97;
    - doubtful label: share of the k neighbours that have another label; listed from 0.8.

    Labels are those of the source, else the folder that each image lies in, where there are several.

    Args:
        model: a run, or a weight file of any source.
        data: folder, or another source that `-data_path` takes.
        output: HTML file that the page is written to; None: none.
        list_file: list below `data`, or train_list.txt or val_list.txt for the parts of what has no lists.
        pool: "class", "mean", "grid2" or "grid4"; see `mae_probe.features`.
        block: number from 0 of the block whose tokens count, or from the end.
        limit: most images, evenly over the list.
        umap: lay the images out by UMAP, too (extra `umap`).
        settings: values by dotted config key: {"DATA.BATCH_SIZE": 64}.

    Returns:
        what was found; its `write` makes the page.

    Raises:
        UserError: arguments, weights or output that cannot be used.
        DataError: there are no images, or none can be read.
    """
    if output is not None:
        prepare_map(Path(output))
    if pool is not None and pool not in POOLS:
        raise UserError(f"pool={pool!r}; pool is one of {', '.join(POOLS)}")
    values = {"MODEL.PRETRAINED": fspath(model), "DATA.DATA_PATH": fspath(data), **(settings or {})}
    opened = load_config(RECIPE, None, values, whole=True, say=log.LOGGER.info)
    (number,) = block_numbers([block], opened.config.MODEL.ENCODER.DEPTH)
    part = Part(pool or own_pool(opened.config), number)
    made = draw_map(opened, MapChoices(part, list_file, limit, umap))
    if output is not None:
        made.write(output)
    return made


def prepare_map(path: Path) -> None:
    """Refuse, before the work, a page that cannot be written.

    Raises:
        UserError: the file cannot be written or is not named as a page, or jinja2 is not installed.
    """
    template_environment()
    if path.suffix != ".html":
        raise UserError(f"-output {path} does not end in .html; name such a file")
    prepare_output(path)


def draw_map(opened: Opened, choices: MapChoices) -> EmbeddingMap:
    """Encode the images, or read what is kept of them, and make their map.

    Raises:
        UserError: choices or weights that cannot be used, or fewer than three images.
        DataError: there are no images.
    """
    begin_alone("map")
    if not 3 <= choices.limit <= MOST:
        raise UserError(f"--limit {choices.limit}: a map shows 3 to {MOST:,} images")
    if choices.umap:
        scores.require_umap()
    config = opened.config
    dataset = _open_images(config, choices.list_name or config.DATA.VAL_LIST)
    log.log_lines(dataset.images.notes)
    model = open_encoder(opened, "map")
    places = _spread(len(dataset), choices.limit) if len(dataset) > choices.limit else None
    features = encode_parts(config, model, dataset, precision_of(config), [choices.part], places)[choices.part]
    if len(features.paths) < 3:
        raise UserError(f"{dataset.images.name} has {len(features.paths)} images that can be used; a map needs 3")
    labels, names = _labels(dataset, features.labels, features.paths)
    found = examine(features.features, labels, choices.umap)
    used = _places_of(dataset, range(len(dataset)) if places is None else places, features.paths)
    shown = _shown_patches(found)
    tokens = _patch_tokens(config, model, dataset, [used[i] for i in shown], choices.part.block)
    colours = scores.patch_colours(tokens).reshape(len(shown), *grid_of(config), 3)
    images = ShownImages(dataset, shown_bands(config))
    thumbnails = photo_sprite((images.picture(place) for place in used), len(used))
    source = f"{dataset.images.name}, seen by {_model_name(config)} ({choices.part.pool}, block {choices.part.block})"
    rows = np.array(shown, np.int64)
    patches = pixel_sprite(colours)
    return EmbeddingMap(source, features.paths, labels, names, features.features, found, thumbnails, patches, rows)


def _model_name(config: Config) -> str:
    return "random weights" if config.MODEL.RANDOM_INIT else str(config.MODEL.PRETRAINED)


def _open_images(config: Config, name: str) -> ListDataset:
    """Open a list with its labels, where asking for them leaves no image out."""
    plain = eval_dataset(config, name, "optional", dropping=True)
    if (plain.images.labels != NO_LABEL).any():
        return plain
    try:
        labelled = eval_dataset(config, name, "required", dropping=True)
    except DataError:
        return plain
    return labelled if len(labelled) == len(plain) else plain


def _labels(
    dataset: ListDataset, labels: NDArray[np.int64], paths: Sequence[str]
) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return the labels of the source with their names, else the folders of the images, where there are several."""
    if (labels != NO_LABEL).any():
        names = {label: name or str(label) for label, name in dataset.images.class_folders().items() if label >= 0}
        return labels, names if len(set(names.values())) == len(names) else {label: str(label) for label in names}
    folders, numbers = np.unique([str(PurePosixPath(path).parent) for path in paths], return_inverse=True)
    if len(folders) < 2:
        return labels, {}
    return numbers.astype(np.int64), dict(enumerate(map(str, folders)))


def _spread(count: int, most: int) -> list[int]:
    """Return `most` numbers below `count`, evenly, or all."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()})


def _places_of(dataset: ListDataset, asked: Sequence[int], paths: Sequence[str]) -> list[int]:
    """Return the places in the list of the images that could be read, whose paths are in its order."""
    rest = iter(asked)
    return [next(place for place in rest if dataset.images.path(place) == path) for path in paths]


def _shown_patches(found: Findings) -> list[int]:
    """Choose the images whose patches are shown: those that the page lists, and others evenly."""
    pairs = chain.from_iterable(pair[:2] for pair in found.duplicates[:LISTED])
    listed = {*found.outliers(), *found.doubtful_labels(LISTED), *pairs}
    others = [i for i in range(len(found.outlier_scores)) if i not in listed]
    free = PATCH_PICTURES - len(listed)
    return sorted({*listed, *(others[i] for i in (_spread(len(others), free) if others else ()))})


def _patch_tokens(
    config: Config, model: LinearProbe, dataset: ListDataset, places: Sequence[int], block: int
) -> NDArray[np.float16]:
    """Encode images to their patch tokens float16 [N, L, D]."""
    part, precision, weights, made = Part(TOKENS, block), precision_of(config), RoundedWeights(), []
    for images, _, _ in eval_batches(config, dataset, rows=places):
        with precision.autocast(weights):
            made.append(take_parts(model, [part], images)[part].numpy())
    return np.concatenate(made)
