"""Reference pages from the code: config keys from the comments beside the defaults, exit codes from the errors."""

import inspect
from collections.abc import Iterator
from importlib import import_module

from mae_core import errors as core_errors
from mae_core.stage.config.help import Key, keys_of
from mae_data import errors as data_errors
from site_commands import commands_page


def generated(name: str) -> str:
    """Return the text for `<!-- generated: NAME -->`.

    Raises:
        KeyError: there is no such text.
    """
    if name.startswith("config "):
        return config_keys(name.removeprefix("config "))
    return {"commands": commands_page, "exit codes": exit_codes}[name]()


def config_keys(package: str) -> str:
    """Return a table for each group of keys of a stage: meaning, default, what it takes."""
    lines: list[str] = []
    group = None
    for key in keys_of(import_module(f"{package}.config").RECIPE):
        if _group(key) != group:
            group = _group(key)
            lines += ["", f"## {group}", "", "| key | meaning | default | takes |", "| --- | --- | --- | --- |"]
        name = f'<span id="{key.name}"></span>`{key.name}`'
        lines.append(f"| {name} | {_plain(key.meaning)} | `{_shown(key.default)}` | {_plain(key.allowed)} |")
    return "\n".join(lines).strip()


def _group(key: Key) -> str:
    return key.name.split(".")[0] if "." in key.name else "Top level"


def _shown(value: object) -> str:
    return '""' if value == "" else str(value)


def _plain(text: str) -> str:
    for mark in "|<*_":
        text = text.replace(mark, f"\\{mark}")
    return text


def exit_codes() -> str:
    """Return the exceptions of both foundations that name an exit code."""
    rows = [f"| {code} | {said} | `{name}` |" for code, name, said in sorted(_errors())]
    return "\n".join(["| exit code | what it says | exception |", "| --- | --- | --- |", *rows])


def _errors() -> Iterator[tuple[int, str, str]]:
    for module in (core_errors, data_errors):
        for name, error in inspect.getmembers(module, inspect.isclass):
            code = getattr(error, "exit_code", None)
            if isinstance(code, int):
                yield code, f"{module.__name__}.{name}", (error.__doc__ or "").splitlines()[0]
