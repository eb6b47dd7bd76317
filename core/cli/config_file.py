"""`edgesr.toml`: options of every command, one table a command, checked whole before anything runs.

    [export]
    target = ["tflite-int8", "onnx-int8"]
    calib = "photographs"

    [verify.parity]
    images = "photographs"

Relative paths start at the file's folder. A table or key that no command has is refused, so is a value that its option
would not take: all of the file, whichever command runs. Raises `ConfigurationError`, one line with file, table and key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from edgesr.cli.option_values import checked_value, leaf_commands, option_keys
from edgesr.errors import ConfigurationError

FILE_NAME = "edgesr.toml"

Settings = Mapping[tuple[str, ...], Mapping[str, object]]
"""By a command's names, what click takes as defaults, by the names of its parameters."""


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file and what it says."""

    path: Path
    settings: Settings


def find_config_file(named: Path | None) -> Path | None:
    """The file that was named, else that of the current folder, else None."""
    if named is not None:
        return named
    here = Path(FILE_NAME)
    return here if here.is_symlink() or here.exists() else None


def read_config_file(path: Path, root: click.Group) -> ConfigFile:
    """The file, checked against every command under `root`."""
    tables = _parse(path)
    settings: dict[tuple[str, ...], dict[str, object]] = {}
    for names, key, value in _entries(path, root, (), tables):
        command = leaf_commands(root)[names]
        option = option_keys(command)[key]
        try:
            plain = checked_value(command, option, value, path.absolute().parent)
        except ValueError as error:
            raise ConfigurationError(f"{path}: [{'.'.join(names)}] {key}: {_with_advice(str(error))}") from error
        settings.setdefault(names, {})[str(option.name)] = plain
    return ConfigFile(path, settings)


def _parse(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file; check the path, or write {FILE_NAME}") from error
    except IsADirectoryError as error:
        raise ConfigurationError(f"{path} is a folder; give the configuration file in it") from error
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is no text in UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # tomllib leaves too long a number and too deep a nest to Python
        raise ConfigurationError(f"{path} is no TOML: {error}; mend that line") from error


def _entries(
    path: Path, group: click.Group, names: tuple[str, ...], table: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], str, object]]:
    """Every key of a group's table and those under it, with the names of the command that has it."""
    nameless = getattr(group, "nameless", None)
    own = option_keys(nameless) if isinstance(nameless, click.Command) else {}
    for name, value in table.items():
        command = group.commands.get(name)
        if command is None:
            if name not in own:
                raise ConfigurationError(_unknown(path, group, names, name, value))
            yield names, name, value
            continue
        here = (*names, name)
        if not isinstance(value, dict):
            raise ConfigurationError(
                f"{path}: {'.'.join(here)} is a command; write its options under [{'.'.join(here)}]"
            )
        if isinstance(command, click.Group):
            yield from _entries(path, command, here, value)
            continue
        keys = option_keys(command)
        for key in value:
            if key not in keys:
                why = unknown_key(command, " ".join(here), key)
                raise ConfigurationError(f"{path}: [{'.'.join(here)}] {key}: {why}")
            yield here, key, value[key]


def unknown_key(command: click.Command, called: str, key: str) -> str:
    """That a command has no such option, and which one is near."""
    keys = option_keys(command)
    arguments = [param.make_metavar(click.Context(command)) for param in command.params
                 if isinstance(param, click.Argument) and param.name == key]  # fmt: skip
    if arguments:
        return f"{arguments[0].strip('[]')} is no option; name it on the command line"
    short = next((name for name, option in keys.items() if key in {x.lstrip("-") for x in option.opts}), None)
    near = [short] if short else nearest(key.replace("_", "-"), list(keys))
    return f"edgesr {called} has no such option; {near_or_all(near, list(keys))}"


def nearest(word: str, words: Sequence[str]) -> list[str]:
    """The words most like one."""
    import difflib

    return difflib.get_close_matches(word, words, n=1, cutoff=0.5)


def near_or_all(near: Sequence[str], known: Sequence[str]) -> str:
    """What to choose instead of an unknown word."""
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"


def _unknown(path: Path, group: click.Group, names: tuple[str, ...], name: str, value: object) -> str:
    """What is wrong with a name that is neither a command nor an option."""
    here = ".".join((*names, name))
    tables = [".".join(path) for path in leaf_commands(group, names)]
    if isinstance(value, dict):
        return f"{path}: [{here}] is no command's table; {near_or_all(nearest(here, tables), tables)}"
    where = f"in [{'.'.join(names)}]" if names else "in no table"
    return f"{path}: {name} stands {where}, where no command has it; put it under one of [{'], ['.join(tables)}]"


def _with_advice(message: str) -> str:
    return message if "; " in message else f"{message}; mend the value"
