"""The main command of a stage: train, or score with -eval."""

import os
from importlib import import_module

from mae_core import log
from mae_core.command_line import Parser, flag_pairs
from mae_core.errors import ConfigError
from mae_core.runtime import import_paddle
from mae_core.stage.flags import STAGE_FLAGS
from mae_core.stage.inheritance import load_config
from mae_core.stage.recipe import Recipe


def train_or_score(package: str, parser: Parser, argv: list[str]) -> None:
    """Run a stage's main command.

    Args:
        package: import name of the stage. Its `config.RECIPE`, `train.train` and `evaluate.evaluate` are imported
            once the arguments are known to be sound, so that help and refusals do not wait for Paddle.

    Raises:
        UserError: whatever the user has to mend.
    """
    args = parser.parse_intermixed_args(argv)
    recipe: Recipe = import_module(f"{package}.config").RECIPE
    log.setup(main=not int(os.environ.get("PADDLE_TRAINER_ID") or 0))
    if args.json == "-":
        log.use_stderr()
    flags = flag_pairs(args, STAGE_FLAGS)
    config = load_config(recipe, args.cfg, flags, args.pairs, allow_drift=args.allow_drift, say=log.LOGGER.info)
    if args.json and not config.EVAL:
        raise ConfigError("--json is for -eval; a training run writes its figures to log.jsonl")
    import_paddle()
    if not config.EVAL:
        import_module(f"{package}.train").train(config, args.allow_drift)
        return
    from mae_core.stage.figures import prepare_json, write_json
    from mae_core.stage.output import with_output

    prepare_json(args.json)
    write_json(args.json, import_module(f"{package}.evaluate").evaluate(with_output(config, "-eval")))
