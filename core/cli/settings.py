"""The options --config, --no-config and --set, for every command: the command line beats --set, and that the file.

A command's values are looked up when its own line is read, as defaults of its options; so every check that an option
makes is made of them too, and help answers whatever a file holds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesr.cli.given import KEY, Configured, configured
from edgesr.cli.option_values import CommandLineOnly, checked_value, leaf_commands, option_keys, parse_setting

if TYPE_CHECKING:
    from edgesr.cli.config_file import ConfigFile

SOURCES = "edgesr.sources"
"""Where the contexts hold the group's `Sources`."""
PRINTS_ALL = ("config",)
"""The command that prints the settings of others."""


@dataclass(frozen=True)
class Sources:
    """What the group was told: the file of --config, None for that of the folder, and its --set."""

    named: Path | None = None
    no_file: bool = False
    settings: tuple[str, ...] = ()

    def file(self, root: click.Group) -> ConfigFile | None:
        """The configuration file, read and checked."""
        from edgesr.cli.config_file import find_config_file, read_config_file

        path = None if self.no_file else find_config_file(self.named)
        return None if path is None else read_config_file(path, root)


def configuration_options(group: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the group; it hands their values to `remember_sources`."""
    for option in (
        click.option("--set", "settings", multiple=True, metavar="COMMAND.KEY=VALUE",
                     help="Give an option of the command, as the file would; repeatable."),
        click.option("--no-config", is_flag=True, help="Read no configuration file."),
        click.option("--config", type=click.Path(path_type=Path), metavar="FILE",
                     help="Read options from this TOML file (default: edgesr.toml in the current folder)."),
    ):  # fmt: skip
        group = option(group)
    return group


def remember_sources(context: click.Context, config: Path | None, no_config: bool, settings: tuple[str, ...]) -> None:
    """Keep what the group was told for the command that follows."""
    if config is not None and no_config:
        raise click.UsageError("--config and --no-config contradict each other; leave out one of the two")
    context.meta[SOURCES] = Sources(config, no_config, settings)


def make_configurable(root: click.Group) -> None:
    """Give every command under `root` the option --set, and the values of file and settings."""
    for names, command in leaf_commands(root).items():
        command.params.append(
            CommandLineOnly(
                ["--set", "settings"], multiple=True, is_eager=True, expose_value=False, metavar="KEY=VALUE",
                callback=functools.partial(_configure, root, names),
                help="Give an option as the configuration file would; repeatable.",
            )
        )  # fmt: skip
        command.callback = _announcing(command.callback)


def sources(context: click.Context) -> Sources:
    """What the group was told; nothing where a command runs without it."""
    found = context.meta.get(SOURCES)
    return found if isinstance(found, Sources) else Sources()


def _configure(
    root: click.Group, names: tuple[str, ...], context: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> None:
    """Make the values of file and settings the defaults of a command."""
    if context.resilient_parsing:
        return
    told = sources(context)
    file = told.file(root)
    from_file = dict(file.settings.get(names, {})) if file else {}
    from_settings = read_settings(root, names, () if names == PRINTS_ALL else told.settings, texts)
    context.default_map = {**from_file, **from_settings}
    used = file.path if file is not None and from_file else None
    context.meta[KEY] = Configured(frozenset(from_settings), used)


def read_settings(
    root: click.Group, names: tuple[str, ...], of_group: Sequence[str], of_command: Sequence[str] = ()
) -> dict[str, object]:
    """The values that --set gives to a command, by its parameters' names; `click.UsageError` for one it cannot take."""
    command, found = leaf_commands(root)[names], dict[str, object]()
    for text, is_relative in (*((text, False) for text in of_group), *((text, True) for text in of_command)):
        try:
            parts, value = parse_setting(text)
            key = _key(root, names, parts, is_relative)
            option = option_keys(command)[key]
            plain = checked_value(command, option, value, Path())
        except ValueError as error:
            raise click.UsageError(f"--set {text.partition('=')[0]}: {error}") from error
        if option.name in found:
            raise click.UsageError(f"--set gives {key} twice; leave one out, or write a list where it is repeatable")
        found[str(option.name)] = plain
    return found


def _key(root: click.Group, names: tuple[str, ...], parts: tuple[str, ...], is_relative: bool) -> str:
    """The key of the command `names` that a setting means; raises `ValueError` for a key or command that is another."""
    from edgesr.cli.config_file import near_or_all, nearest, unknown_key

    commands = leaf_commands(root)
    if is_relative and len(parts) == 1:
        parts = (*names, *parts)
    path, key = parts[:-1], parts[-1]
    if path not in commands:
        tables = [".".join(path) for path in commands]
        if not path:
            raise ValueError(f"it names no command; write {'.'.join((*names, key))}, or give --set after the command")
        near = nearest(".".join(path), tables)
        raise ValueError(f"there is no command {'.'.join(path)}; {near_or_all(near, tables)}")
    if path != names:
        raise ValueError(f"it is for edgesr {' '.join(path)}, and edgesr {' '.join(names)} runs; leave it out")
    if key not in option_keys(commands[path]):
        raise ValueError(unknown_key(commands[path], " ".join(path), key))
    return key


def _announcing(callback: Callable[..., Any] | None) -> Callable[..., Any]:
    """The command, after it refused an option that was given twice and named the file that others came from."""
    assert callback is not None

    @functools.wraps(callback)
    def announced(*arguments: Any, **values: Any) -> Any:
        context = click.get_current_context()
        found = configured(context)
        options = {param.name: param.opts[0] for param in context.command.params}
        for name in sorted(found.names):
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{options[name]} is given twice, by --set too; leave out one of the two")
        if found.file is not None and not context.params.get("quiet"):
            click.echo(f"configuration: {found.file}", err=True)
        return callback(*arguments, **values)

    return announced
