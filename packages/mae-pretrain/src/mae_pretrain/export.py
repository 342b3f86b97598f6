"""`mae-pretrain export`: the encoder's features, or the whole autoencoder, as a folder that a server runs."""

from functools import partial
from pathlib import Path

import paddle

from mae_core.errors import CheckpointError
from mae_core.export import MIN_AGREEMENT, format_for
from mae_core.export.model_folder import check_export, export_model
from mae_core.export.narrowing import narrowing_on
from mae_core.export.ports import Port, image_facts, images_port
from mae_core.export.program import Signature
from mae_core.models import MaskedAutoencoderViT
from mae_core.ops.random_masking import len_keep
from mae_core.process import log
from mae_core.stage.classifier import require_weights
from mae_core.stage.config.node import Config
from mae_core.stage.config.recipe import values_from_config
from mae_core.weights.key_report import join_names
from mae_core.weights.load import fit_weights
from mae_core.weights.parameter_names import DECODER, plain_name
from mae_core.weights.sources import Weights
from mae_pretrain import __version__
from mae_pretrain.build import build_model, eval_dataset, require_decoder


def export(
    config: Config,
    weights: Weights | None,
    output: str | None,
    file_format: str | None = None,
    narrow: str | None = None,
    min_agreement: float = MIN_AGREEMENT,
    *,
    with_decoder: bool = False,
) -> str:
    """Write the encoder, or encoder and decoder.

    Args:
        weights: of the model, of whatever source.
        output: folder; None: `exported`.
        file_format: `paddle` or `onnx`; None: what `narrow` needs, or else `paddle`.
        narrow: a name of `export.KINDS`, ONNX in fewer bits; None: float32.
        min_agreement: the least mean cosine of its outputs, on validation images, with float32's.
        with_decoder: images and noise in, prediction and mask out; else images in, features out.

    Returns:
        what was written and how close it is to the model, for people.

    Raises:
        UserError: settings, folder or packages do not allow it.
        CheckpointError: weights that are missing, damaged or of another model.
    """
    folder = Path(output or "exported")
    weights = require_decoder(weights, "--with-decoder") if with_decoder else require_weights(weights, "export")
    file_format, data = format_for(file_format, narrow), config.DATA
    check_export(folder, file_format, narrow)
    log.setup()
    narrowing = narrowing_on(data.VAL_LIST, data.TRAIN_LIST, partial(eval_dataset, config), narrow, min_agreement)
    paddle.set_device("cpu")  # a graph drawn for a GPU holds its attention kernels
    model = build_model(config)
    _load(model, weights, with_decoder)
    facts = {
        "command": f"mae-pretrain {__version__}",
        "model": config.MODEL.NAME,
        "patch_size": model.patch_size,
        **image_facts(model, config.DATA.CROP_PCT),
    }
    if with_decoder:
        facts |= {"mask_ratio": config.MODEL.MASK_RATIO, "norm_pix_loss": model.norm_pix_loss}
        signature = _autoencoder(model, config.MODEL.MASK_RATIO)
    else:
        signature = _encoder(model)
    measured = export_model(folder, file_format, model, signature, facts, weights, narrowing)
    return "\n".join(f"{folder}: {line}" for line in measured.lines())


def _encoder(model: MaskedAutoencoderViT) -> Signature:
    shape = (1 + model.num_patches, model.embed_dim)
    features = Port("features", shape, "float32", "after the norm; the class token, then the patches row by row")
    return Signature(lambda images: (model.forward_features(images),), [images_port(model)], [features])


def _autoencoder(model: MaskedAutoencoderViT, mask_ratio: float) -> Signature:
    with values_from_config():
        keep = len_keep(model.num_patches, mask_ratio)
    length, pixels = model.num_patches, model.patch_size**2 * model.in_chans
    noise = f"from 0 to 1; the {keep} patches of smallest noise stay visible, ties by patch number"
    unit = "normalised within each patch" if model.norm_pix_loss else "normalised"
    values = f"pixels (row, column, channel) of each patch, {unit}; visible patches are never trained"
    return Signature(
        lambda images, noise: model(images, mask_ratio, noise=noise)[1:],
        [images_port(model), Port("noise", (length,), "float32", noise)],
        [Port("prediction", (length, pixels), "float32", values), Port("mask", (length,), "float32", "1 removed")],
    )


def _load(model: MaskedAutoencoderViT, weights: Weights, with_decoder: bool) -> None:
    """Load what is exported; a decoder that is not may be missing."""
    report = fit_weights(model, weights, same_target=with_decoder)
    missing = [n for n in report.missing if with_decoder or plain_name(n).partition(".")[0] not in DECODER]
    if missing:
        raise CheckpointError(f"{report.file} has no {join_names(missing)}: a model of initial values means nothing")
    for line in report.lines():
        log.LOGGER.info(line)
