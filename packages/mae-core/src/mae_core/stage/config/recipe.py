"""A stage's recipe: its defaults, its packaged YAML files, and how the config of a run comes to be.

Order: defaults -> YAML BASE -> YAML -> flags -> `KEY VALUE` pairs -> validate -> freeze.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from mae_core.errors import ConfigError
from mae_core.stage.config.foreign_config import merge_shared, stage_of_file
from mae_core.stage.config.limits import Limits
from mae_core.stage.config.node import Also, Config, Schema, flatten, merge_file, merge_pairs, set_key, to_dict
from mae_core.stage.config.predecessor_keys import passed_over
from mae_core.stage.run.latest import name_runs

# Keys of every stage that take another type beside their default's.
OTHER_TYPES: Also = {
    "DATA.IMAGE_SIZE": list,
    "DATA.BANDS": list,
    "DATA.VALUE_RANGE": list,
    "TRAIN.LINEAR_SCALED_LR": type(None),
    "MODEL.PRETRAINED": str,
    "MODEL.CHANNELS_FROM": str,
    "MODEL.RESUME": str,
    "SAVE": str,
}


@dataclass(frozen=True)
class Recipe:
    """What a stage can be told.

    Args:
        package: import name; its folder `configs/` holds the packaged YAML files.
        defaults: every key with its default.
        also: per key, one more type that is allowed beside the default's.
        validate: checks what must hold, `limits` included; raises ConfigError.
        validate_training: checks what training alone needs, which scoring, prediction and export are not asked for.
        limits: what single keys may be set to.
        count_classes: (data folder, training list) -> how many classes it names, 0 where it names none; None where no
            head is trained.
    """

    package: str
    defaults: Config
    also: Also
    validate: Callable[[Config], None]
    limits: Limits = field(default_factory=Limits)
    count_classes: Callable[[str, str], int] | None = None
    validate_training: Callable[[Config], None] = lambda config: None

    @property
    def schema(self) -> Schema:
        """What each key takes."""
        return Schema(self.defaults, self.also)

    def find(self, name: str) -> Path:
        """Return a config file of the user's, or the packaged one of that name (suffix and folder optional)."""
        path = Path(name)
        with suppress(OSError):  # a name that is too long for the disk
            if path.is_file():
                return path
        folder = resources.files(self.package).joinpath("configs")
        packaged = {Path(str(f)).name: Path(str(f)) for f in folder.iterdir()}
        file_name = path.name if path.suffix else f"{path.name}.yaml"
        if file_name not in packaged:
            known = ", ".join(sorted(n for n in packaged if n.endswith(".yaml")))
            raise ConfigError(f"config {name[:200]} does not exist; give a YAML file or one of {known}")
        return packaged[file_name]

    @property
    def stage(self) -> str:
        """The stage's MODEL.TYPE."""
        return str(self.defaults.MODEL.TYPE)

    def known(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the values by dotted key whose keys this stage has."""
        own = flatten(to_dict(self.defaults))
        return {key: value for key, value in values.items() if key in own}

    def load(self, cfg: str | None = None, flags: Mapping[str, Any] | None = None, pairs: Sequence[str] = ()) -> Config:
        """Build the frozen config: defaults, then the file, then flags, then `KEY VALUE` pairs.

        Raises:
            ConfigError: a key, a value, or what must hold between them.
        """
        return self.finish(self.merge(cfg, flags or {}, pairs))

    def merge(
        self,
        cfg: str | None,
        flags: Mapping[str, Any],
        pairs: Sequence[str],
        *,
        lent: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Config:
        """Merge without checks of what must hold between keys.

        Args:
            lent: values by dotted key that hold where the user states nothing.
            say: receives a line on a file of another stage, which lends the keys that stages share.
        """
        config, schema = self.defaults.clone(), replace(self.schema, foreign=passed_over(say))
        for key, value in (lent or {}).items():
            set_key(config, key, value, schema)
        if cfg:
            path = self.find(cfg)
            stage = stage_of_file(path)
            if stage in (None, self.stage):
                merge_file(config, path, schema)
            else:
                say(merge_shared(config, path, schema, stage))
        for key, value in flags.items():
            set_key(config, key, value, schema)
        merge_pairs(config, pairs, schema)
        return config

    def finish(self, config: Config, *, training: bool = True) -> Config:
        """Validate, name runs by their own folders, and freeze.

        Args:
            training: whether it may be to train by.
        """
        self.validate(config)
        if training:
            self.validate_training(config)
        name_runs(config)
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
