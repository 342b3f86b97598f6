"""A stage's recipe: its keys, its packaged YAML files, and how the config of a run comes to be.

Order: defaults -> YAML BASE -> YAML -> flags -> `KEY VALUE` pairs -> validate -> freeze.
"""

import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from mae_core.errors import ConfigError, UserError
from mae_core.model_sizes import network_name, preset_sizes
from mae_core.stage.config.foreign_keys import PassedOver, config_folders, merge_shared, stage_of_layers
from mae_core.stage.config.keys import Keys, config_of
from mae_core.stage.config.merge import Merge
from mae_core.stage.config.node import Config, Values, get_key
from mae_core.stage.config.yaml_file import read_layers

Say = Callable[[str], None]
LATEST = "latest"  # beside the runs: a link to the one that began last
_SIZES = {
    "embed_dim": "MODEL.ENCODER.EMBED_DIM",
    "depth": "MODEL.ENCODER.DEPTH",
    "num_heads": "MODEL.ENCODER.NUM_HEADS",
    "patch_size": "MODEL.PATCH_SIZE",
}


@dataclass(frozen=True)
class Recipe:
    """What a stage can be asked for.

    Args:
        package: import name; its folder `configs/` holds the packaged YAML files.
        keys: every key, with its default and limits.
        validate: checks what must hold between keys; raises ConfigError.
        count_classes: (data folder, training list) -> how many classes it names, 0 where it names none; None where no
            head is trained.
        validate_training: checks what training alone needs, which scoring, prediction and export are not asked for.
        chosen: what -cfg of its training takes beside files, for messages.
    """

    package: str
    keys: Keys
    validate: Callable[[Config], None]
    count_classes: Callable[[str, str], int] | None = None
    validate_training: Callable[[Config], None] = lambda config: None
    chosen: tuple[str, ...] = ()

    @cached_property
    def defaults(self) -> Config:
        """The config of a run of which nothing is stated."""
        return config_of(self.keys)

    @property
    def stage(self) -> str:
        """The stage's MODEL.TYPE."""
        return str(self.keys["MODEL.TYPE"].default)

    def find(self, name: str) -> Path:
        """Return a config file of the user's, or the packaged one of that name (suffix and folder optional).

        Other stages' are found too, after this one's.
        """
        path = Path(name)
        with suppress(OSError):  # a name that is too long for the disk
            if path.is_file():
                return path
        own = Path(str(resources.files(self.package))) / "configs"
        file_name = path.name if path.suffix else f"{path.name}.yaml"
        folders = (own, *config_folders())
        for file in (folder / file_name for folder in folders):
            with suppress(OSError):
                if file.is_file():
                    return file
        known = sorted(file.name for file in own.glob("*.yaml"))
        close = difflib.get_close_matches(file_name, [f.name for folder in folders for f in folder.glob("*.yaml")], n=1)
        nearest = f"; nearest is {close[0].removesuffix('.yaml')}" if close else ""
        to_train = "".join(f", or, to train, {word}" for word in self.chosen)
        raise ConfigError(
            f"config {name[:200]} does not exist{nearest}; give a YAML file or one of {', '.join(known)}{to_train}"
        )

    def load(
        self, cfg: str | None = None, flags: Mapping[str, object] | None = None, pairs: Sequence[str] = ()
    ) -> Config:
        """Build the frozen config: defaults, then the file, then flags, then `KEY VALUE` pairs.

        Raises:
            ConfigError: a key, a value, or what must hold between them.
        """
        return self.finish(self.merge(cfg, flags or {}, pairs).config)

    def merge(
        self,
        cfg: str | None,
        flags: Mapping[str, object] | Callable[[Config], Mapping[str, object]],
        pairs: Sequence[str] = (),
        say: Say = lambda line: None,
        trains: bool = True,
    ) -> Merge:
        """Merge all that the user states, each file read once, without checks of what must hold between keys.

        Args:
            flags: values by dotted key; or what returns them, given the config of defaults and file.
            say: receives a line on a file of another stage, which lends the keys that stages share, and on keys
                without effect.
            trains: whether it is to train; otherwise a file may hold keys of pre-training, too.
        """
        passed_over = PassedOver(self.stage, trains)
        merge = Merge(self.keys, passed_over)
        if cfg:
            layers = read_layers(self.find(cfg))
            stage = stage_of_layers(layers)
            if stage in (None, self.stage):
                merge.layers(layers)
            else:
                say(merge_shared(merge, layers, stage))
        merge.values(flags(merge.config) if callable(flags) else flags)
        merge.pairs(pairs)
        for line in passed_over.lines():
            say(line)
        return merge

    def finish(self, config: Config, *, training: bool = True) -> Config:
        """Validate, name the model by its sizes and runs by their own folders, and freeze.

        Args:
            training: whether it may be to train by.
        """
        for name, key in self.keys.items():
            key.require(name, get_key(config, name))
        self.validate(config)
        if training:
            self.validate_training(config)
        name_model(config)
        _name_runs(config)
        config.freeze()
        return config


@contextmanager
def values_from_config() -> Iterator[None]:
    """Turn ValueError into ConfigError: sizes and ranges come from the config, so what a constructor refuses is
    the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from None


def preset_values(name: str) -> Values:
    """Return what a preset sets, by dotted key.

    Raises:
        UserError: there is no such preset.
    """
    try:
        sizes = preset_sizes(name)
    except ValueError as error:
        raise UserError(str(error)) from None
    return {"MODEL.NAME": name, **{key: sizes[argument] for argument, key in _SIZES.items()}}


def is_label(name: object) -> bool:
    """Whether a name is one of the user's own: those of networks begin with ViT or MAE-ViT, in any spelling."""
    return isinstance(name, str) and not name.lower().replace("-", "_").startswith(("vit_", "mae_vit_"))


def name_model(config: Config) -> None:
    """Set MODEL.NAME to what the sizes are called, unless it is a label, or true."""
    m, e, stated, size = config.MODEL, config.MODEL.ENCODER, config.MODEL.NAME, config.DATA.IMAGE_SIZE
    network = network_name(e.EMBED_DIM, e.DEPTH, e.NUM_HEADS, m.PATCH_SIZE, size, m.MLP_RATIO, m.QKV_BIAS)
    is_true = stated and f"{network}_".startswith(f"{stated.removeprefix('mae_')}_")
    if not (is_label(stated) or is_true):
        m.NAME = network


def _name_runs(config: Config) -> None:
    """Put the run's own folder in place of the link: the next run, perhaps this one, points it elsewhere."""
    for group, key in (*((config.MODEL, key) for key in ("PRETRAINED", "TEACHER", "RESUME")), (config, "SAVE")):
        if path := group.get(key):
            group[key] = _behind_link(path)


def _behind_link(path: str) -> str:
    parts = Path(path).parts
    for place, part in enumerate(parts):
        if part == LATEST and (link := Path(*parts[: place + 1])).is_symlink():
            return str(link.parent.joinpath(os.readlink(link), *parts[place + 1 :]))
    return path
