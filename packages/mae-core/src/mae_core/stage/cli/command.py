"""The main command of a stage: train, or score with -eval."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from mae_core.errors import ConfigError
from mae_core.files import write_output
from mae_core.process import log, streams
from mae_core.process.command_line import Flag, Parser, flag_pairs
from mae_core.process.runtime import import_paddle
from mae_core.stage.cli.completion import Commands
from mae_core.stage.cli.flags import STAGE_FLAGS


def train_or_score(
    package: str,
    parser: Parser,
    argv: list[str],
    commands: Commands = MappingProxyType({}),
    own_flags: Sequence[Flag] = (),
) -> None:
    """Run a stage's main command.

    Args:
        package: import name of the stage. Its `config.RECIPE`, `train.train` and `evaluate.evaluate` are imported
            once the arguments are known to be sound, so that help and refusals do not wait for Paddle.
        commands: the stage's subcommands, for the completion of the shell.
        own_flags: what the parser has beside the flags of all stages.

    Raises:
        UserError: whatever the user has to mend.
    """
    args = parser.parse_intermixed_args(argv)
    if not argv:
        parser.print_help()
        return
    from mae_core.stage.cli.questions import answer
    from mae_core.stage.config.from_weights import load_config  # what help does without
    from mae_core.stage.config.model_name import preset_values

    if (said := answer(args, package, parser, commands)) is not None:
        print(said) if args.json in (None, "-") else write_output(Path(args.json), said.encode())
        return
    recipe = import_module(f"{package}.config").RECIPE
    log.setup(main=not int(os.environ.get("PADDLE_TRAINER_ID") or 0))
    if args.json == "-":
        log.use_stderr()
    flags = (preset_values(args.model) if args.model else {}) | flag_pairs(args, (*STAGE_FLAGS, *own_flags))
    opened = load_config(recipe, args.cfg, flags, args.pairs, allow_drift=args.allow_drift, say=log.LOGGER.info)
    if args.json and not opened.config.EVAL:
        raise ConfigError("--json is for -eval; a training run writes its figures to log.jsonl")
    import_paddle()
    if args.dry_run:
        from mae_core.stage.run.dry_run import dry_run

        for line in dry_run(opened, import_module(f"{package}.train").build_run):
            streams.say(line)
        return
    if not opened.config.EVAL:
        import_module(f"{package}.train").train(opened, args.allow_drift)
        return
    from mae_core.stage.run.output_folder import with_output
    from mae_core.stage.run.scores_file import prepare_json, write_json

    prepare_json(args.json)
    config = with_output(opened.config, "-eval")
    write_json(args.json, import_module(f"{package}.evaluate").evaluate(config, opened.weights))
