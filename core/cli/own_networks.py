"""The options --weights and --init of commands that take classes of the user's own among other models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgesr.cli.text_types import JsonObject
from edgesr.user_code import SUFFIX, OwnNetwork, UserClass, parse_init, parse_user_class

Command = Callable[..., Any]


def _parse_inits(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> tuple[dict[str, object], ...]:
    try:
        return tuple(parse_init(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(f"{error}; give an object, like '{{\"upscale\": 4}}'", ctx, param) from error


def own_network_options(command: Command) -> Command:
    """Add the two options, repeatable."""
    weights = click.option(
        "--weights", multiple=True, type=click.Path(path_type=Path),
        help="The checkpoint of a class path/to/net.py:Class; once for each class, in their order.",
    )  # fmt: skip
    init = click.option(
        "--init", "inits", multiple=True, type=JsonObject(), callback=_parse_inits,
        help="Arguments for the constructor of a class, once for each in their order, or for none.",
    )  # fmt: skip
    return weights(init(command))


def own_networks(
    models: Sequence[str], weights: Sequence[Path], inits: Sequence[Mapping[str, object]]
) -> list[str | OwnNetwork]:
    """The models, those that are classes with their weights and arguments; fails where these do not match."""
    for model in models:
        if model.endswith(SUFFIX):
            raise click.UsageError(f"{model} is a Python file; name the class in it, like {model}:Network")
    found = [(model, parse_user_class(model)) for model in models]
    classes = [named for _, named in found if named is not None]
    if not classes and (weights or inits):
        raise click.UsageError("--weights and --init are for a class of your own; name it like path/to/net.py:Class")
    if len(weights) != len(classes):
        one = "has no weights, and a network of random numbers proves nothing; give its checkpoint by --weights"
        many = f"{_count(classes)} and {len(weights)} --weights; give one for each, in the order of the classes"
        raise click.UsageError(f"{classes[0]} {one}" if len(classes) == 1 and not weights else many)
    if len(inits) not in (0, len(classes)):
        raise click.UsageError(
            f"{_count(classes)} and {len(inits)} --init; give one for each ('{{}}' for none), or leave it out"
        )
    extras = iter(zip(weights, inits or [{}] * len(classes), strict=True))
    return [model if named is None else OwnNetwork(named, *next(extras)) for model, named in found]


def _count(classes: Sequence[UserClass]) -> str:
    return f"{len(classes)} {'class' if len(classes) == 1 else 'classes'}"
