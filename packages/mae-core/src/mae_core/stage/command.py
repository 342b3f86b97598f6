"""The main command of a stage: train, or score with -eval."""

from collections.abc import Sequence
from importlib import import_module

from mae_core.command_line import Flag, Parser, flag_pairs
from mae_core.errors import ConfigError
from mae_core.runtime import import_paddle
from mae_core.stage.flags import STAGE_FLAGS


def train_or_score(package: str, parser: Parser, argv: list[str], own_flags: Sequence[Flag] = ()) -> None:
    """Run a stage's main command.

    Args:
        package: import name of the stage. Its `config.RECIPE`, `train.train` and `evaluate.evaluate` are imported
            once the arguments are known to be sound, so that help and refusals do not wait for Paddle.
        own_flags: what the parser has beside the flags of all stages.

    Raises:
        UserError: whatever the user has to mend.
    """
    args = parser.parse_intermixed_args(argv)
    flags = flag_pairs(args, (*STAGE_FLAGS, *own_flags))
    config = import_module(f"{package}.config").RECIPE.load(args.cfg, flags, args.pairs)
    if args.json and not config.EVAL:
        raise ConfigError("--json is for -eval; a training run writes its figures to log.jsonl")
    import_paddle()
    if not config.EVAL:
        import_module(f"{package}.train").train(config, args.allow_drift)
        return
    from mae_core.stage.figures import prepare_json, write_json

    prepare_json(args.json)
    write_json(args.json, import_module(f"{package}.evaluate").evaluate(config))
