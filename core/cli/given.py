"""What a user said on the command line itself, by an option or by --set, and which file the other values came from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import click

KEY = "edgesr.configured"
"""Where a command's context holds its `Configured`."""


@dataclass(frozen=True)
class Configured:
    """The parameters that --set gave to a command, and the configuration file that gave it others."""

    names: Collection[str] = field(default_factory=frozenset)
    file: Path | None = None


def is_given(context: click.Context, name: str) -> bool:
    """Whether a parameter's value is from the command line: a file's values serve every run, and may have no use."""
    typed = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    return typed or name in configured(context).names


def configured(context: click.Context) -> Configured:
    """What --set and a file gave to the command."""
    found = context.meta.get(KEY)
    return found if isinstance(found, Configured) else Configured()
