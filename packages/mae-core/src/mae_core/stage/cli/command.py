"""The main command of a stage: train, or score with -eval; and questions such as `--help-config`."""

import argparse
import os
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from mae_core.errors import ConfigError
from mae_core.files import refuse_unwritable, write_output
from mae_core.process import log, stdio
from mae_core.process.command_line import Flag, Parser, add_flags, flag_pairs
from mae_core.process.runtime import import_paddle, version_line
from mae_core.stage.cli.flags import STAGE_FLAGS, TRAINING_FLAGS, add_json, add_pairs


def stage_parser(package: str, description: str, version: str, own_flags: Sequence[Flag] = ()) -> Parser:
    """Build the parser of a stage's main command.

    Args:
        package: import name of the stage. Its `config.RECIPE`, `train.train` and `evaluate.evaluate` are imported
            once the arguments are known to be sound, so that help and refusals do not wait for Paddle.
        own_flags: what the command has beside the flags of all stages.
    """
    prog, flags = package.replace("_", "-"), (*STAGE_FLAGS, *own_flags)
    parser = Parser(
        prog=prog,
        description=description,
        usage=f"{prog} [FLAGS] [KEY VALUE ...]\n       {prog} COMMAND ...",
        run=partial(train_or_score, package, flags),
        epilog=_packaged_configs(package),
    )
    parser.add_argument("--version", action="version", version=version_line(prog, version))
    _add_words(parser, flags)
    help_completion = "print a script that completes this command; bash and zsh eval it"
    parser.add_argument("--completion", action=Completion, package=package, help=help_completion)
    return parser


def add_stage(parser: Parser, package: str, text: str, own_flags: Sequence[Flag] = ()) -> None:
    """Declare a stage that only trains, as a subcommand of another's command.

    Args:
        package: import name of the stage, of which the last part is the subcommand; see `stage_parser`.
        text: what it does, without a full stop.
        own_flags: in place of those of this name, or beside them.
    """
    name = package.rpartition(".")[2]
    usual = set(TRAINING_FLAGS) - {flag.name for flag in own_flags}
    flags = (*(flag for flag in STAGE_FLAGS if flag.name in usual), *own_flags)
    run, usage = partial(train_or_score, package, flags), f"{parser.prog} {name} [FLAGS] [KEY VALUE ...]"
    _add_words(parser.add_command(name, run, text, usage=usage, epilog=_packaged_configs(package)), flags)


def _packaged_configs(package: str) -> str:
    configs = Path(str(import_module(package).__file__)).with_name("configs").glob("*.yaml")
    return f"packaged configs, for -cfg: {', '.join(sorted(file.stem for file in configs))}"


def _add_words(parser: Parser, flags: Sequence[Flag]) -> None:
    add_flags(parser, flags)
    parser.add_argument(
        "--allow-drift", action="append", default=[], metavar="KEY", help="let KEY differ when resuming"
    )
    add_json(parser)
    parser.add_argument("--dry-run", action="store_true", help="print config, data, steps, time, memory; write nothing")
    help_config = "print what a config key means, or a group of them, or all; with --json as a schema for editors"
    parser.add_argument("--help-config", nargs="?", const="", metavar="KEY", help=help_config)
    add_pairs(parser, "TRAIN.NUM_EPOCHS 10")


def train_or_score(package: str, flags: Sequence[Flag], args: Namespace) -> None:
    """Run a stage's main command.

    Args:
        package: import name of the stage.
        flags: those that set config keys.

    Raises:
        UserError: whatever the user has to mend.
    """
    from mae_core.stage.config.from_weights import load_config  # what help does without
    from mae_core.stage.config.recipe import preset_values

    recipe = import_module(f"{package}.config").RECIPE
    if args.help_config is not None:
        from mae_core.stage.config.help import help_lines, json_schema

        text = json_schema(recipe) if args.json else "\n".join(help_lines(recipe, args.help_config))
        if args.json in (None, "-"):
            print(text)
            return
        with refuse_unwritable(Path(args.json), "choose another with --json"):
            write_output(Path(args.json), text.encode())
        return
    log.setup(main=not int(os.environ.get("PADDLE_TRAINER_ID") or 0))
    if args.json == "-":
        log.use_stderr()
    values = (preset_values(model) if (model := vars(args).get("model")) else {}) | flag_pairs(args, flags)
    opened = load_config(recipe, args.cfg, values, args.pairs, allow_drift=args.allow_drift, say=log.LOGGER.info)
    if args.json and not opened.config.EVAL:
        raise ConfigError("--json is for -eval; a training run writes its figures to log.jsonl")
    import_paddle()
    if args.dry_run:
        from mae_core.stage.run.dry_run import dry_run

        for line in dry_run(opened, import_module(f"{package}.train").build_run):
            stdio.print_line(line)
    elif opened.config.EVAL:
        from mae_core.stage.run.output_folder import with_output
        from mae_core.stage.run.scores_file import prepare_json, write_json

        prepare_json(args.json)
        config = with_output(opened.config, "-eval")
        write_json(args.json, import_module(f"{package}.evaluate").evaluate(config, opened.weights))
    else:
        import_module(f"{package}.train").train(opened, args.allow_drift)


class Completion(argparse.Action):
    """Prints a script for a shell and ends the command, as `--version` does.

    Args:
        package: import name of the stage.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, package: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, choices=("bash", "zsh"), **kwargs)
        self.package = package

    def __call__(self, parser: Any, namespace: Any, shell: Any, option_string: str | None = None) -> None:
        print(completion_script(parser, shell, list(import_module(f"{self.package}.config").RECIPE.keys)))
        parser.exit()


def completion_script(parser: Parser, shell: str, keys: Sequence[str]) -> str:
    """Return a script that completes subcommands, flags with their values, file names and `KEY VALUE` words."""
    import shtab

    for action in (action for command in (parser, *parser.commands.values()) for action in command._actions):
        if action.dest == "pairs":
            action.choices = keys
        elif action.nargs != 0 and not action.choices and action.type not in (int, float):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    (words,) = (action for action in parser._actions if action.dest == "pairs")
    words.choices = [*parser.commands, *keys]
    name, preamble = shtab.wordify(f"_shtab_{parser.prog}"), ""
    if shell == "zsh":  # a first word that may be a key hides the subcommands there, so these bring the keys
        words.help = argparse.SUPPRESS
        preamble = f"functions[{name}_commands]+=$'\\ncompadd -- {' '.join(keys)}'"
    # Our parser hides its subcommands from argparse's own parsing, and so from shtab.
    whole = argparse.ArgumentParser(prog=parser.prog, parents=[parser], add_help=False)
    return str(shtab.complete(whole, shell, preamble=preamble))
