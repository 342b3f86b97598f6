"""`state.json` of a checkpoint as bytes: sealed by a checksum of its own, every known entry typed and in range.

It is read before anything is trusted: its entries decide which files are opened and where a run goes on.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mae_core.weights.formats.pickle_values import safe_text

STATE = "state.json"
SCHEMA = 2  # 1 had no seal
MODEL, OPTIMIZER, EMA = "model.safetensors", "optimizer.safetensors", "ema.safetensors"
_SEAL = "state_sha256"
_MOST_BYTES = 2**24  # ours have a few thousand
_DEEPEST = 16
_MOST_STEPS = 10**12
_MOST_RANKS = 10**6


@dataclass(frozen=True)
class Interval:
    """The open logging interval: its steps so far, and the sums of their metrics."""

    steps: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Best:
    """The step that scored best so far."""

    step: int
    score: float


@dataclass(frozen=True)
class Validated:
    """How far a run is validated: the best step, and the one that was scored last."""

    best: Best | None = None
    scored: int = 0


@dataclass(frozen=True)
class State:
    """What `state.json` holds of a checkpoint; entries that a run has not are as here.

    Args:
        step: optimizer steps done.
        sha256: checksum of each of its files, by name; known once they are written.
        scaler: the loss scaler's state; {} where the loss is not scaled.
        bad_steps: steps in a row whose gradient was not finite.
        validation: None where nothing was scored.
        config: the run's, nested as in `config.yaml`.
        data: number and hash of the training images, as {"train": {"images", "sha256"}}.
        world_size: ranks that trained.
        versions: what computed the run (see `training.provenance`).
    """

    step: int
    sha256: Mapping[str, str] = field(default_factory=dict)
    scaler: Mapping[str, Any] = field(default_factory=dict)
    meter: Interval = field(default_factory=Interval)
    bad_steps: int = 0
    validation: Validated | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    world_size: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)


def encode_state(state: State) -> bytes:
    """Return the bytes of a state; see `encode_record`."""
    return encode_record(asdict(state))


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Return the bytes of a record, sealed: its last entry is the SHA-256 of all others."""
    rest = {**{key: value for key, value in record.items() if key != _SEAL}, "schema": SCHEMA}
    return _dump({**rest, _SEAL: hashlib.sha256(_dump(rest)).hexdigest()})


def decode_state(data: bytes, needed: Sequence[str] = ()) -> State:
    """Return the state that bytes hold, checked.

    Args:
        needed: entries that must be there.

    Raises:
        ValueError: it is damaged, lacks an entry, or holds what no run writes.
    """
    record = decode_record(data)
    if missing := [key for key in needed if key not in record]:
        raise ValueError(f"{STATE} lacks {missing[0]}")
    found = {entry.name: record[entry.name] for entry in fields(State) if record.get(entry.name) is not None}
    if "meter" in found:
        found["meter"] = Interval(**found["meter"])
    if "validation" in found:
        best, scored = found["validation"]["best"], found["validation"]["scored"]
        found["validation"] = Validated(Best(**best) if best else None, scored)
    return State(**found)


def decode_record(data: bytes) -> dict[str, Any]:
    """Return all entries that bytes hold, checked; also those that only later versions know.

    Raises:
        ValueError: it is damaged, or holds what no run writes.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{len(data):,} bytes; at most {_MOST_BYTES:,} are read")
    try:
        record = json.loads(data.decode("ascii"))
        _check_values(record, _DEEPEST)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if type(record) is not dict or not {"schema", "step", "sha256"} <= record.keys():
        raise ValueError("schema, step or sha256 is missing")
    if not _whole(record["schema"], 1):
        raise ValueError(f"schema is {_json_text(record['schema'])}, 1 to {SCHEMA} are read")
    if record["schema"] > SCHEMA:
        raise ValueError(f"schema {record['schema']} is newer than {SCHEMA}: upgrade mae-core")
    # Compared as bytes: then not even a capital letter in the checksum can be flipped unseen.
    if record["schema"] == SCHEMA and encode_record(record) != data:
        raise ValueError("its own checksum differs")
    record.pop(_SEAL, None)
    _check_entries(record)
    return record


def _dump(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, indent=1).encode()


def _check_values(value: Any, depth: int) -> None:
    """Refuse depths that later recursion would not survive, and text that cannot be printed."""
    if depth < 0:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair: UnicodeEncodeError is a ValueError
    for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value if type(value) is list else ():
        _check_values(item, depth - 1)


def _check_entries(record: dict[str, Any]) -> None:
    """Refuse entries of another type or range; those that are not known here are of later versions, or the stage's."""
    for key, (holds, wanted) in _ENTRIES.items():
        if key in record and not holds(record[key]):
            raise ValueError(f"{key} is {_json_text(record[key])}, not {wanted}")
    validation = record.get("validation") or {"best": None, "scored": 0}
    best = validation["best"] or {"step": 0}
    if max(validation["scored"], best["step"]) > record["step"]:
        raise ValueError(f"validation is of a step after {record['step']}")


def _json_text(value: Any) -> str:
    return safe_text(json.dumps(value))


def _whole(value: Any, least: int = 0, most: int = _MOST_STEPS) -> bool:
    return type(value) is int and least <= value <= most


def _number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _files(value: Any) -> bool:
    return (
        type(value) is dict
        and {MODEL, OPTIMIZER} <= value.keys() <= {MODEL, OPTIMIZER, EMA}
        and all(type(text) is str and len(text) == 64 for text in value.values())
    )


def _scaler(value: Any) -> bool:
    """Return whether it is Paddle's: flags and numbers, the scale perhaps as a list of one."""
    if type(value) is not dict or (value and "scale" not in value):
        return False
    numbers = [item[0] if type(item) is list and len(item) == 1 else item for item in value.values()]
    return all(type(item) is bool or _number(item) for item in numbers)


def _meter(value: Any) -> bool:
    return (
        type(value) is dict
        and value.keys() == {"steps", "sums"}
        and _whole(value["steps"])
        and type(value["sums"]) is dict
        and all(map(_number, value["sums"].values()))
    )


def _validation(value: Any) -> bool:
    if value is None:
        return True
    if type(value) is not dict or value.keys() != {"best", "scored"} or not _whole(value["scored"]):
        return False
    best = value["best"]
    return best is None or (
        type(best) is dict and best.keys() == {"step", "score"} and _whole(best["step"]) and _number(best["score"])
    )


def _config(value: Any) -> bool:
    """Return whether keys are names, at every depth; what they hold is checked against the stage's defaults."""
    return type(value) is dict and all(
        key.isascii() and key.isidentifier() and (type(item) is not dict or _config(item))
        for key, item in value.items()
    )


def _texts(value: Any) -> bool:
    return type(value) is dict and all(type(item) is str for item in value.values())


_ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "step": (_whole, "a whole number of steps"),
    "sha256": (_files, f"the SHA-256 of {MODEL}, {OPTIMIZER} and perhaps {EMA}"),
    "scaler": (_scaler, "a loss scaler's state"),
    "meter": (_meter, "steps and sums"),
    "bad_steps": (_whole, "a whole number"),
    "validation": (_validation, "best and scored"),
    "config": (_config, "keys and values"),
    "world_size": (lambda value: _whole(value, 1, _MOST_RANKS), f"a number of ranks from 1 to {_MOST_RANKS:,}"),
    "versions": (_texts, "versions by name"),
}
