"""`edgesr config`: the options in force, as a configuration file."""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgesr.cli.console import output_options, print_json
from edgesr.cli.option_values import leaf_commands, option_keys, written
from edgesr.cli.settings import PRINTS_ALL, read_settings, sources

PLAIN = (bool, int, float, str, list, tuple, dict)


@click.command(short_help="Print the options in force, as an edgesr.toml.")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@output_options
@click.pass_context
def config(context: click.Context, names: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Print every option of COMMAND, like export or verify parity, or of all commands, with its value in force.

    Values come from --set, the configuration file and edgesr's defaults, in this order. Options without a value stand
    in comments. The output is a complete configuration file.
    """
    from edgesr.cli.config_file import near_or_all, nearest

    root = context.find_root().command
    assert isinstance(root, click.Group)
    commands = leaf_commands(root)
    chosen = [path for path in commands if path[: len(names)] == names and (names or path != (context.info_name,))]
    if not chosen:
        known = [" ".join(path) for path in commands]
        raise click.UsageError(
            f"there is no command {' '.join(names)}; {near_or_all(nearest(' '.join(names), known), known)}"
        )
    file = sources(context).file(root)
    settings = _by_command(sources(context).settings)
    read_settings(root, PRINTS_ALL, [x for path, texts in settings.items() if path not in commands for x in texts])
    tables: dict[str, dict[str, object]] = {}
    for path in chosen:
        from_file = file.settings.get(path, {}) if file else {}
        given = {**from_file, **read_settings(root, path, settings.get(path, ()))}
        tables[".".join(path)] = _in_force(commands[path], given)
    if as_json:
        print_json({"file": None if file is None else str(file.path), "options": tables})
    elif not quiet:
        click.echo("\n".join(_lines(tables)))


def _by_command(settings: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """The settings by the names of the command that each is for."""
    found: dict[tuple[str, ...], list[str]] = {}
    for text in settings:
        path = tuple(part.strip() for part in text.partition("=")[0].split(".")[:-1])
        found.setdefault(path, []).append(text)
    return found


def _in_force(command: click.Command, given: dict[str, object]) -> dict[str, object]:
    """The value of each option by its key, None where it has none."""
    context = click.Context(command, info_name=command.name)
    found: dict[str, object] = {}
    for key, option in option_keys(command).items():
        value = given.get(str(option.name), option.get_default(context))
        found[key] = value if isinstance(value, PLAIN) and value != () else None
    return found


def _lines(tables: dict[str, dict[str, object]]) -> list[str]:
    lines: list[str] = []
    for name, options in tables.items():
        lines += ["", f"[{name}]"] if lines else [f"[{name}]"]
        lines += [f"# {key} =" if value is None else f"{key} = {written(value)}" for key, value in options.items()]
    return lines
