"""Networks as commands are given them: a bundled model's name, a checkpoint's path, or a class of the user's own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from edgesr.architecture import SRModel
from edgesr.errors import NetworkError
from edgesr.model.registry import load_model
from edgesr.model.user_network import load_user_network
from edgesr.user_code import OwnNetwork, parse_user_class

GivenNetwork = str | Path | OwnNetwork


def load_network(given: GivenNetwork) -> SRModel:
    """The network; only an `OwnNetwork` executes a file.

    Raises `CheckpointError` for a model that is unknown or unusable, `NetworkError` for a class that is, or that was
    named without weights.
    """
    if isinstance(given, OwnNetwork):
        return load_user_network(given.named, given.init, given.weights)
    refuse_bare_class(given)
    path = Path(given)
    is_path = path.is_file() or path.suffix or path.parent.name
    return load_model(None, path) if is_path else load_model(str(given))


def refuse_bare_class(given: GivenNetwork) -> None:
    """Raise `NetworkError` for a class by its name alone."""
    if not isinstance(given, OwnNetwork) and parse_user_class(str(given)) is not None:
        why = "has no weights, and a network of random numbers proves nothing"
        raise NetworkError(f"{given} {why}; give its checkpoint (from Python: an OwnNetwork)")


def label_of(given: GivenNetwork) -> str:
    """What a table calls it where no other is called so: a class's name, a file's stem, or the name itself."""
    if isinstance(given, OwnNetwork):
        return given.named.name
    return Path(given).stem if Path(given).is_file() else str(given)


def prints_apart(given: Sequence[GivenNetwork]) -> AbstractContextManager[object]:
    """What a user's class prints goes to stderr meanwhile: it is no output of ours."""
    own = any(isinstance(network, OwnNetwork) for network in given)
    return contextlib.redirect_stdout(sys.stderr) if own else contextlib.nullcontext()
