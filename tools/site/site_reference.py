"""Reference pages from the code: config keys from the recipes, exit codes from the errors."""

import inspect
from collections.abc import Iterator
from importlib import import_module

from mae_core import errors as core_errors
from mae_core.stage.config.help import allowed
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
    for name, key in import_module(f"{package}.config").RECIPE.keys.items():
        if (now := name.split(".")[0] if "." in name else "Top level") != group:
            group = now
            lines += ["", f"## {group}", "", "| key | meaning | default | takes |", "| --- | --- | --- | --- |"]
        shown = f'<span id="{name}"></span>`{name}`'
        lines.append(f"| {shown} | {_plain(key.help)} | `{_shown(key.default)}` | {_plain(allowed(key))} |")
    return "\n".join(lines).strip()


def _shown(value: object) -> str:
    return '""' if value == "" else str(list(value) if isinstance(value, tuple) else value)


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
