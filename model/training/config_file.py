"""Training configurations as TOML: read into the dataclasses of `config`, written out flat, compared.

Keys are the dataclasses' field names, tables are nested dataclasses, `[[stages]]` repeats. A mistake is one line that
names the key, what it should be, and for an unknown key the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgesr.errors import TrainingError
from edgesr.model.training.config import RunConfig, TrainingConfig

SHIPPED_FOLDER = Path(__file__).parent / "configs"
SUFFIX = ".toml"
Config = TypeVar("Config")


def load_config(name: str | Path) -> TrainingConfig:
    """Read a TOML file, or the configuration of that name that ships with edgesr.

    Raises:
        TrainingError: there is no such file, it is no TOML, or a key or value does not fit.

    """
    path = _locate(Path(name))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:  # tomllib leaves too long a number and too deep a nest to Python
        raise TrainingError(f"{path} is no TOML: {error}; see docs/training.md") from error
    try:
        return _build(TrainingConfig, table, "")
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error


def shipped_configs() -> tuple[str, ...]:
    """The names of the configurations that ship with edgesr."""
    return tuple(sorted(path.stem for path in SHIPPED_FOLDER.glob(f"*{SUFFIX}")))


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Where two sets of settings differ, as `key: first -> second`."""
    keys = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]
    return [f"{key}: {first.get(key, 'none')} -> {second.get(key, 'none')}" for key in keys]


def flatten(config: TrainingConfig) -> dict[str, str]:
    """Every setting that decides the result, by dotted key; not RunConfig, nor paths, whose content is what counts."""
    return dict(_leaves("", dataclasses.asdict(dataclasses.replace(config, run=RunConfig()))))


def _leaves(name: str, value: object) -> typing.Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), entry)
    elif isinstance(value, tuple | list):
        for index, entry in enumerate(value):
            yield from _leaves(f"{name}[{index}]", entry)
    elif value is not None and not isinstance(value, Path):
        yield name, str(value.value if isinstance(value, enum.Enum) else value)


def _locate(path: Path) -> Path:
    if path.suffix == SUFFIX or path.parent != Path():
        return path
    shipped = SHIPPED_FOLDER / f"{path}{SUFFIX}"
    if shipped.is_file():
        return shipped
    near = difflib.get_close_matches(str(path), shipped_configs(), n=1)
    hint = f"did you mean {near[0]}" if near else f"choose from {', '.join(shipped_configs())}"
    raise TrainingError(f"no training configuration is called '{path}'; {hint}, or give a {SUFFIX} file")


def _build(kind: type[Config], value: object, where: str) -> Config:
    """An instance of a dataclass from a table."""
    assert dataclasses.is_dataclass(kind)
    wanted = typing.get_type_hints(kind)
    table = _require_table(value, where)
    for key in table:
        if key not in wanted:
            near = difflib.get_close_matches(str(key), wanted, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(wanted)}"
            raise TrainingError(f"unknown key '{_dotted(where, key)}'; {hint}")
    for entry in dataclasses.fields(kind):
        needed = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if needed and entry.name not in table:
            raise TrainingError(f"'{_dotted(where, entry.name)}' is missing; give it")
    return kind(**{key: _value(wanted[key], entry, _dotted(where, key)) for key, entry in table.items()})


def _value(wanted: Any, value: object, where: str) -> object:
    """A TOML value as the type that a field is declared with."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is types.UnionType:
        return _value(arguments[0], value, where)
    if origin is tuple:
        rows = value if isinstance(value, list) else [value]
        return tuple(_value(arguments[0], row, f"{where}[{index}]") for index, row in enumerate(rows))
    if origin is not None:  # the one mapping: whole numbers by name
        return {key: _value(int, entry, _dotted(where, key)) for key, entry in _require_table(value, where).items()}
    if dataclasses.is_dataclass(wanted):
        return _build(typing.cast("type[object]", wanted), value, where)
    return _scalar(wanted, value, where)


def _scalar(wanted: type, value: object, where: str) -> object:
    if issubclass(wanted, enum.Enum):
        choices = {choice.value: choice for choice in wanted}
        if value not in choices:
            raise TrainingError(f"{where} is {value!r:.40}; choose from {', '.join(choices)}")
        return choices[value]
    if wanted is Path and isinstance(value, str):
        return Path(value).expanduser()
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise TrainingError(f"{where} is {value!r:.40}, wanted {wanted.__name__}")
    return value


def _require_table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TrainingError(f"{where} is {value!r:.40}, wanted a table [{where}]")
    return value


def _dotted(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
