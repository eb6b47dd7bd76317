"""Types of options that are text on the command line and may be more in a configuration file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    TextType = click.ParamType[str]
else:
    TextType = click.ParamType  # click before 8.4 has no such parameter


class ThreadCounts(TextType):
    """Numbers of threads, one or more, like 1 or 1,2; in a file also a plain number."""

    name = "N[,N...]"
    toml_types = (int, str)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text."""
        return str(value)


class JsonObject(TextType):
    """A JSON object; in a file also a table."""

    name = "JSON"
    toml_types = (dict, str)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; fails for a table of what JSON has no form for."""
        if not isinstance(value, Mapping):
            return str(value)
        try:
            return json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            self.fail(f"JSON has no form for this table ({error}); write numbers, texts, lists and tables", param, ctx)
