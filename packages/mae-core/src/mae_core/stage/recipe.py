"""A stage's recipe: its defaults, its packaged YAML files, and how the config of a run comes to be.

Order: defaults -> YAML BASE -> YAML -> flags -> `KEY VALUE` pairs -> validate -> freeze.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mae_core.config import Also, Config, Schema, merge_file, merge_mapping, merge_pairs, set_key
from mae_core.errors import ConfigError, UserError

# Keys of every stage that take another type beside their default's.
ALSO: Also = {
    "DATA.IMAGE_SIZE": list,
    "DATA.VALUE_RANGE": list,
    "TRAIN.LINEAR_SCALED_LR": type(None),
    "MODEL.PRETRAINED": str,
    "MODEL.RESUME": str,
}


@dataclass(frozen=True)
class Recipe:
    """What a stage can be told.

    Args:
        package: import name; its folder `configs/` holds the packaged YAML files.
        defaults: every key with its default.
        also: per key, one more type that is allowed beside the default's.
        validate: checks what must hold; raises ConfigError.
    """

    package: str
    defaults: Config
    also: Also
    validate: Callable[[Config], None]

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

    def load(self, cfg: str | None = None, flags: Mapping[str, Any] | None = None, pairs: Sequence[str] = ()) -> Config:
        """Build the frozen config: defaults, then the file, then flags, then `KEY VALUE` pairs.

        Raises:
            ConfigError: a key, a value, or what must hold between them.
        """
        config = self.defaults.clone()
        if cfg:
            merge_file(config, self.find(cfg), self.schema)
        return self._finish(config, flags or {}, pairs)

    def load_beside(
        self, pretrained: str, cfg: str | None, flags: Mapping[str, Any], pairs: Sequence[str] = ()
    ) -> Config:
        """Build the config from a file where one is named, else from what lies beside trained weights.

        Raises:
            UserError: the weights carry no config, or that of another stage.
            ConfigError, CheckpointError: see `load` and `weights.load.saved_config`.
        """
        if cfg:
            return self.load(cfg, flags, pairs)
        return self.from_dict(self._saved(pretrained), flags, pairs)

    def _saved(self, pretrained: str) -> dict[str, Any]:
        """Return the config that weights of this stage were trained with."""
        from mae_core.weights.load import saved_config  # needs Paddle, which help does without

        file, config = saved_config(pretrained)
        if config is None:
            raise UserError(f"{file} carries no config; name the model with -cfg")
        wanted = self.defaults.MODEL.TYPE
        found = config.get("MODEL", {}).get("TYPE", wanted)
        if found != wanted:
            raise UserError(f"{file} is of a {found} model, {wanted} is needed; name the model with -cfg to take it")
        return config

    def from_dict(self, saved: dict[str, Any], flags: Mapping[str, Any], pairs: Sequence[str] = ()) -> Config:
        """Build the frozen config that a checkpoint holds, with flags and pairs on top."""
        config = self.defaults.clone()
        merge_mapping(config, saved, "checkpoint", self.schema)
        return self._finish(config, flags, pairs)

    def _finish(self, config: Config, flags: Mapping[str, Any], pairs: Sequence[str]) -> Config:
        for key, value in flags.items():
            set_key(config, key, value, self.schema)
        merge_pairs(config, pairs, self.schema)
        self.validate(config)
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
