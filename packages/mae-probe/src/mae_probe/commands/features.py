"""`mae-probe features`: the features of a list's images as files."""

from argparse import Namespace
from pathlib import Path

from mae_core.errors import UserError
from mae_core.process.command_line import Flag, Parser, add_flags
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.flags import add_pairs, add_windows, require_overlap
from mae_probe.commands.flags import ENCODING_FLAGS, add_pool, open_config, parts_of

SUFFIXES = (".npz", ".safetensors", ".csv", ".parquet")  # of feature files


def add_features(parser: Parser) -> None:
    """Declare the command."""
    features = parser.add_command("features", _features, "write the features of a list's images, with paths and labels")
    add_flags(features, ENCODING_FLAGS)
    add_flags(features, (Flag("output", None, f"file to write: {', '.join(SUFFIXES)} (default features.npz)"),))
    features.add_argument("--list", help="list file below -data_path (default DATA.VAL_LIST); labels may be missing")
    tokens = "write the patch tokens themselves, float16 [N, L, D] with their grid (.npz, .safetensors or .parquet)"
    features.add_argument("--tokens", action="store_true", help=tokens)
    add_pool(features)
    add_windows(features)
    add_pairs(features, "MODEL.GLOBAL_POOL True")


def _features(args: Namespace) -> None:
    opened = open_config(args, ENCODING_FLAGS, args.pairs)
    import_paddle()
    from mae_probe.extraction.encoding import encode_lists, grid_of
    from mae_probe.extraction.feature_file import prepare_file, prepare_token_file, write_features, write_tokens
    from mae_probe.extraction.pooling import part_name

    if args.tokens and args.pool:
        raise UserError("--tokens and --pool exclude each other: tokens are what would be pooled")
    output, parts = Path(args.output or "features.npz"), parts_of(args, opened.config)
    names = [f"-{part_name(part, parts).replace(' ', '-')}" for part in parts] if len(parts) > 1 else [""]
    outputs = [output.with_stem(f"{output.stem}{name}") for name in names]
    for path in outputs:
        (prepare_token_file if args.tokens else prepare_file)(path)  # before the work
    require_overlap(args.windows, opened.config.DATA.IMAGE_SIZE)
    lists = [args.list or opened.config.DATA.VAL_LIST]
    encoded = encode_lists(opened, lists, "features", "optional", parts, args.windows)[0]
    what = "images" if args.windows is None else "windows"
    for path, (part, features) in zip(outputs, encoded.items(), strict=True):
        if args.tokens:
            rows, columns = grid_of(opened.config)
            write_tokens(path, features, (rows, columns), part.block)
            each = f"{rows} x {columns} tokens of {features.features.shape[2]} numbers each"
        else:
            write_features(path, features)
            each = f"{features.features.shape[1]} numbers each"
        print(f"{path}: {len(features.paths)} {what}, {each}")
