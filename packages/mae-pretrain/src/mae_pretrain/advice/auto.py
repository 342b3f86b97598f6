"""`-cfg auto` and `--budget`: what they choose takes their place among the words of a command, before it runs."""

import shlex
from argparse import Namespace
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mae_core.errors import UserError
from mae_core.ops.patches import pair
from mae_core.process import distributed
from mae_core.process.command_line import Flag, flag_pairs
from mae_core.process.runtime import available_cores
from mae_core.stage.config.from_weights import load_config
from mae_core.stage.config.merge import COMMAND_LINE, Merge
from mae_core.stage.config.node import Config, Values
from mae_core.stage.config.recipe import preset_values
from mae_core.stage.run.dry_run import has_gpu
from mae_core.stage.run.lifecycle import Run, refuse_used
from mae_core.weights.checkpoint_folder import list_checkpoints
from mae_data.sources.open_source import open_source
from mae_pretrain.advice.images import Look, look_at
from mae_pretrain.advice.length import LONGEST, Pace, fill, pace_of
from mae_pretrain.advice.rules import ENOUGH_STEPS, EPOCHS, SIZE, Known, candidates, usual_epochs, values_for, words_of
from mae_pretrain.config import RECIPE

AUTO = "auto"
Plan = Callable[[str | None, Values], Pace]  # (recipe, chosen values) -> what a run of them would be


@dataclass(frozen=True)
class Choice:
    """What takes the place of `-cfg auto` and `--budget`.

    Args:
        recipe: the config that is named.
        values: by dotted key, none of those that the user states.
        lines: why.
    """

    recipe: str | None
    values: Values
    lines: Sequence[str]


def resolve(args: Namespace, flags: Sequence[Flag], build: Callable[[Config], Run]) -> list[str]:
    """Put what is chosen in the place of `-cfg auto` and `--budget`; the main rank chooses for all.

    Args:
        args: of the command; changed.
        flags: those that set config keys.
        build: puts a run together that writes nothing.

    Returns:
        lines that say what was chosen, why, and the command that does the same.

    Raises:
        UserError: whatever the user has to mend.
    """
    values = (preset_values(args.model) if args.model else {}) | flag_pairs(args, flags)
    choice = choose_plan(args.cfg, values, args.pairs, args.budget, build)
    args.cfg, args.pairs, args.budget = choice.recipe, [*words_of(choice.values), *args.pairs], None
    return [*choice.lines, f"the same as: {_command(args, flags)}"]


def choose_plan(
    cfg: str | None, values: Values, pairs: Sequence[str], budget: float | None, build: Callable[[Config], Run]
) -> Choice:
    """Choose what "auto" and a length of time leave open; the main rank chooses for all.

    Args:
        cfg: "auto", or the config that is given a length.
        values: what the user states, by dotted key.
        pairs: further `KEY VALUE` words of a command.
        budget: seconds.
        build: puts a run together that writes nothing.

    Raises:
        UserError: whatever the user has to mend.
    """
    recipe = None if cfg == AUTO else cfg
    merge = RECIPE.merge(recipe, values, pairs)
    _refuse(cfg, budget, merge)
    if _goes_on(merge.config):
        return Choice(recipe, {}, ["the run that is resumed keeps its recipe and its length; nothing is chosen"])
    if merge.config.SAVE is not None:
        refuse_used(merge.config.SAVE, merge.config)  # before anything is measured

    def plan(recipe: str | None, chosen: Values) -> Pace:
        return pace_of(load_config(RECIPE, recipe, chosen | values, pairs, say=lambda line: None).config, build)

    distributed.init()
    choice = None
    if distributed.is_main():
        typed = {key for key, source in merge.stated.items() if source == COMMAND_LINE}
        if cfg == AUTO:
            choice = choose_recipe(merge.config, typed, budget, plan)
        else:
            choice = Choice(cfg, *fill(plan(cfg, {}), budget or LONGEST, typed))
    return distributed.gather(choice)[0]


def _refuse(cfg: str | None, budget: float | None, merge: Merge) -> None:
    """Refuse what contradicts `-cfg auto` or `--budget`."""
    if merge.config.EVAL or (cfg == AUTO and merge.config.MODEL.PRETRAINED):
        raise UserError(
            "-cfg auto chooses a model, and --budget the length of a training: leave them out with -eval and"
            " -pretrained, whose weights say what the model is"
        )
    if budget and merge.stated.get(EPOCHS) == COMMAND_LINE:
        raise UserError(f"--budget sets {EPOCHS}, which is stated, too: leave one of them out")


def _goes_on(config: Config) -> bool:
    """Return whether a run that began before is resumed."""
    resume = config.MODEL.RESUME
    if resume == "auto":
        return config.SAVE is not None and bool(list_checkpoints(Path(config.SAVE) / "checkpoints"))
    return bool(resume)


def choose_recipe(config: Config, typed: Collection[str], budget: float | None, plan: Plan) -> Choice:
    """Choose recipe, values and length for the images and this machine.

    Args:
        config: what the user states.
        typed: the keys of that.
        budget: seconds; None: as long as the runs that were measured, at most a day.
    """
    look, on_gpu = look_for(config, typed), has_gpu()
    sized = replace(look, side=min(pair(config.DATA.IMAGE_SIZE))) if SIZE in typed else look
    for known in candidates(sized, on_gpu):
        values = values_for(known, sized, distributed.world_size(), config, typed)
        pace = plan(known.recipe, values)
        if pace.steps_in(budget or LONGEST) >= ENOUGH_STEPS:
            break  # else a smaller one, which does more steps in that time; the last is taken in any case
    seconds = budget or min(LONGEST, pace.seconds_of(usual_epochs(known, look.images, pace.steps_per_epoch)))
    length, line = fill(pace, seconds, typed)
    cores = available_cores()
    machine = "a GPU" if on_gpu else f"{cores} core{'s' * (cores > 1)}, no GPU"
    lines = [f"{look}; this machine: {machine}", _why(known, pace.config), *line]
    return Choice(known.recipe, values | length, lines)


def look_for(config: Config, typed: Collection[str]) -> Look:
    """Look at the training images of a config, as far as the keys that are typed do not say what they are."""
    d = config.DATA
    images = open_source(
        d.DATA_PATH, d.TRAIN_LIST, labels="optional", allow_outside=d.ALLOW_OUTSIDE, opt_in="DATA.ALLOW_OUTSIDE True"
    )
    stated = {
        argument: d[key]
        for argument, key in (("channels", "IMAGE_CHANNELS"), ("value_range", "VALUE_RANGE"))
        if f"DATA.{key}" in typed
    }
    return look_at(images, **stated, bands=d.BANDS, nodata=d.NODATA)


def _why(known: Known, config: Config) -> str:
    m, d = config.MODEL, config.DATA
    return f"{known.recipe} at {d.IMAGE_SIZE} pixels, patches of {m.PATCH_SIZE}, batch {d.BATCH_SIZE}: {known.runs}"


def _command(args: Namespace, flags: Sequence[Flag]) -> str:
    """Return the command that does the same without choosing."""
    words = ["mae-pretrain"]
    for flag in flags:
        value = getattr(args, flag.name)
        if value is not None:
            words += [f"-{flag.name}"] if flag.switch else [f"-{flag.name}", _typed(value)]
    words += [word for key in args.allow_drift for word in ("--allow-drift", key)]
    return shlex.join([*words, *args.pairs])


def _typed(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)
