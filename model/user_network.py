"""A user's own network: a class in a Python file, its constructor's arguments, and a checkpoint of its weights.

To load it is to execute the file and the class, with all that they do. Nothing here happens unless the caller names the
class as `path/to/net.py:Class`. The folder of the file is importable meanwhile, as when Python runs the file itself.
Everything that it raises becomes one `NetworkError` with the line of the file; what it prints is for the caller to keep
out of its own output.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.errors import CheckpointError, NetworkError, first_line
from edgesr.model.captured import CAPTURED
from edgesr.model.checkpoint import COUNTER_SUFFIX, PREFIXES, load_state_dict, sha256
from edgesr.model.keys import require_shapes
from edgesr.model.network_contract import find_contract
from edgesr.user_code import UserClass, raised_at

MODULE_NAME = "edgesr_user_network"
WANTS_GPU = ("CUDA", "NVIDIA", "cuda")
"""What torch's errors say where code asks for a GPU that is not there."""


def load_user_network(named: UserClass, init: Mapping[str, object], weights: Path) -> SRModel:
    """Execute the file, build the class with `init`, load `weights`, and find out what it takes and makes.

    Raises:
        NetworkError: the file, the class, its arguments or its forward cannot be used.
        CheckpointError: the weights are unreadable, or not of this class.

    """
    module = _build(_find_class(_execute(named.file), named), named, init)
    _load_weights(module, named, weights)
    contract = find_contract(module, named.name)
    arguments = f" {json.dumps(dict(init), sort_keys=True)}" if init else ""
    return SRModel(
        name=f"{named.name}_x{contract.scale}",
        architecture=CAPTURED,
        module=module,
        config={"in_channels": contract.channels, "scale": contract.scale},
        scale=contract.scale,
        source=f"{weights}, weights of {named}{arguments}",
        sha256=sha256(weights),
        size_multiple=contract.size_multiple,
    )


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the file import its neighbours."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _execute(file: Path) -> ModuleType:
    """Run the file as a module."""
    if not file.is_file():
        raise NetworkError(f"{file}: no such file; check the path before the colon")
    spec = importlib.util.spec_from_file_location(MODULE_NAME, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module  # dataclasses and pickles look their own module up there
    try:
        with _importable(file.resolve().parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise _failure(str(file), "it fails when it is imported", error, "it must import without running") from error
    return module


def _find_class(module: ModuleType, named: UserClass) -> type[nn.Module]:
    found = getattr(module, named.name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    own = [name for name, value in vars(module).items() if _is_network(value) and value.__module__ == MODULE_NAME]
    what = "is no nn.Module" if found is not None else "is not in it"
    choice = f"choose from {', '.join(own)}" if own else "it defines no nn.Module"
    raise NetworkError(f"{named.file}: {named.name} {what}; {choice}")


def _is_network(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _build(network: type[nn.Module], named: UserClass, init: Mapping[str, object]) -> nn.Module:
    """The module, in eval mode, on the CPU, in float32, and not trainable."""
    _require_arguments(network, named, init)
    try:
        with _importable(named.file.resolve().parent), torch.no_grad():  # what it computes is to be copyable
            module = network(**init)
            copy.deepcopy(module)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        given = f" with --init '{json.dumps(dict(init))}'" if init else ""
        raise _failure(f"{named}", f"its constructor fails{given}", error, "give other arguments by --init") from error
    _register_tensors(module)
    return module.cpu().float().eval().requires_grad_(False)


def _register_tensors(module: nn.Module) -> None:
    """Make buffers of tensors in plain attributes, so that they follow the module to float64; they need no weights."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor):
                delattr(part, name)
                part.register_buffer(name, value, persistent=False)


def _require_arguments(network: type[nn.Module], named: UserClass, init: Mapping[str, object]) -> None:
    """Refuse arguments that the constructor does not have, and name those that it needs besides."""
    parameters = list(inspect.signature(network).parameters.values())
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [] if any(p.kind is p.VAR_KEYWORD for p in parameters) else [key for key in init if key not in names]
    if unknown:
        known = ", ".join(names) or "none"
        raise NetworkError(f"{named}: its constructor has no argument {', '.join(unknown)}; it takes {known}")
    missing = [p.name for p in parameters if p.name in names and p.default is p.empty and p.name not in init]
    if missing:
        example = json.dumps(dict.fromkeys(missing, 0))
        raise NetworkError(
            f"{named}: its constructor needs {', '.join(missing)}; give them by --init, like --init '{example}'"
        )


def _load_weights(module: nn.Module, named: UserClass, weights: Path) -> None:
    """Fill the module; counters of batch norms may be missing, all else must be there."""
    state = load_state_dict(weights)
    expected = module.state_dict()
    state = _with_prefix(state, expected)
    shapes = {key: tuple(value.shape) for key, value in expected.items() if not key.endswith(COUNTER_SUFFIX)}
    given = {key: value for key, value in state.items() if not key.endswith(COUNTER_SUFFIX)}
    try:
        require_shapes(named.name, given, shapes)
    except CheckpointError as error:
        raise CheckpointError(f"{weights}: {error}, and the arguments it was trained with in --init") from error
    module.load_state_dict(given, strict=False)


def _with_prefix(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give back a prefix that reading took for a trainer's, where the class itself has it."""
    prefix = next((p for p in PREFIXES if expected and all(key.startswith(p) for key in expected)), "")
    return {f"{prefix}{key}": value for key, value in state.items()}


def _failure(where: str, what: str, error: BaseException, advice: str) -> NetworkError:
    """One line for whatever the user's code raised."""
    place = raised_at(error)
    line = f" (in {place})" if place else ""
    said = first_line(error) if isinstance(error, Exception) else f"it exits ({error})"
    if any(word in str(error) for word in WANTS_GPU):
        return NetworkError(
            f"{where}: {what}: it asks for a GPU{line}: {said}; leave .cuda() to the caller, the network is exported "
            "on the CPU"
        )
    if isinstance(error, FileNotFoundError):
        return NetworkError(f"{where}: {what}: it needs the file {error.filename}{line}; a network must build without")
    if isinstance(error, ModuleNotFoundError):
        return NetworkError(f"{where}: {what}: {said}{line}; install it beside edgesr, or take the import out")
    kind = type(error).__name__
    return NetworkError(f"{where}: {what}: {kind}: {said}{line}; {advice}")
