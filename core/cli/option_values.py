"""Values of options as TOML has them, checked with the option's own type and made what click takes as a default.

A key is the option's own long name without the dashes: `max-drop` for --max-drop, `memory` for --memory/--no-memory.
Text is text, numbers are numbers; a repeatable option takes a list or one value. Relative paths start at a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

STANDARD_STREAM = "-"


class CommandLineOnly(click.Option):
    """An option that stands in no configuration file: it says what one call is about."""


@dataclass(frozen=True)
class Bare:
    """A value of --set that was written without quotes: text where text is wanted, else what TOML makes of it."""

    text: str
    value: object


def option_keys(command: click.Command) -> dict[str, click.Option]:
    """The options of a command that a file may give, by their keys, in the order of its help."""
    found: dict[str, click.Option] = {}
    for param in command.params:
        if isinstance(param, click.Option) and not isinstance(param, CommandLineOnly):
            long_names = [name for name in param.opts if name.startswith("--")]
            found |= {name.removeprefix("--"): param for name in long_names[:1]}
    return found


def leaf_commands(group: click.Group, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Every command that runs, by its names; a group that runs one where none is named has it as `nameless`."""
    found: dict[tuple[str, ...], click.Command] = {}
    nameless = getattr(group, "nameless", None)
    if isinstance(nameless, click.Command):
        found[path] = nameless
    for name, command in group.commands.items():
        here = (*path, name)
        found |= leaf_commands(command, here) if isinstance(command, click.Group) else {here: command}
    return found


def checked_value(command: click.Command, option: click.Option, value: object, folder: Path) -> object:
    """What click takes as the option's default; raises `ValueError`, saying what was wanted, for a wrong one."""
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        plain: object = [_plain(option, one, folder) for one in values]
    else:
        plain = _plain(option, value, folder)
    try:
        option.process_value(click.Context(command, info_name=command.name), plain)
    except click.MissingParameter as error:
        raise ValueError("it is empty; give a value, or leave the key out") from error
    except click.BadParameter as error:
        raise ValueError(error.message.rstrip(".")) from error
    return plain


def _plain(option: click.Option, value: object, folder: Path) -> object:
    """One value of the option's kind."""
    kind = option.type
    wanted, kinds = _wanted(kind)
    if isinstance(value, Bare):
        value = value.text if str in kinds else value.value
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{_shown(value)} is {_named(value)}; write {wanted}")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a text with a null character is no value; take it out")
    if isinstance(kind, click.Path):
        return _placed(str(value), folder)
    return value if isinstance(kind, _BUILTIN) or isinstance(value, Mapping) else str(value)


_BUILTIN = (click.types.BoolParamType, click.types.IntParamType, click.types.FloatParamType, click.Choice, click.Path)


def _wanted(kind: Any) -> tuple[str, tuple[type, ...]]:
    """What a type of click's takes, in words and as TOML's types."""
    if isinstance(kind, click.types.BoolParamType):
        return "true or false", (bool,)
    if isinstance(kind, click.types.IntParamType):
        return "a whole number", (int,)
    if isinstance(kind, click.types.FloatParamType):
        return "a number", (int, float)
    if isinstance(kind, click.types.StringParamType | click.Choice | click.Path):
        return "a text in quotes", (str,)
    takes: tuple[type, ...] = getattr(kind, "toml_types", (str,))
    return f"it like {kind.name}", takes


def _placed(path: str, folder: Path) -> str:
    """A path from a file's folder; - is a stream."""
    if not path:
        raise ValueError("an empty text is no path; write one, or leave the key out")
    return path if path == STANDARD_STREAM else str(folder / path)


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:40]}..."


def _named(value: object) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list",
             dict: "a table"}  # fmt: skip
    return names.get(type(value), f"a {type(value).__name__}")


def parse_setting(text: str) -> tuple[tuple[str, ...], object]:
    """The key, part by part, and the value of `key=value`; raises `ValueError` for what is none.

    Text needs no quotes; what begins like a quoted text, a list or a table must be one.
    """
    import tomllib

    key, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not equals or not all(parts):
        raise ValueError(f"'{text}' is no setting; write key=value, like effort=balanced")
    value = value.strip()
    try:
        found = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        if value[:1] in ("", *"\"'[{"):
            raise ValueError(f"'{text}' has no TOML value ({error}); quote texts, also those in lists") from error
        return parts, value
    if set(found) != {"value"}:
        raise ValueError(f"'{text}' is more than one setting; give --set once for each")
    return parts, found["value"] if value[:1] in "\"'[{" else Bare(value, found["value"])


def written(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(written(one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_quoted(str(key))} = {written(one)}' for key, one in value.items())} }}"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
