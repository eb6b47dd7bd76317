"""Read values out of parsed JSON, one named field at a time; what is wrong is named by its place, like results[2].n.

Every reader raises `FieldError`, whose message is the place and what was wanted there. true and false are no numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping


class FieldError(ValueError):
    """A field is missing or holds what it must not."""


class Fields:
    """A JSON object and where it stands in its document."""

    def __init__(self, value: object, where: str = "") -> None:
        if not isinstance(value, Mapping):
            raise FieldError(f"{where or 'the document'} is {_shown(value)}, wanted an object")
        self._value: Mapping[str, object] = value
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self._value.get(name) is not None

    def place(self, name: str) -> str:
        """Where a field of that name stands."""
        return f"{self._where}.{name}" if self._where else name

    def text(self, name: str) -> str:
        """A string."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None where there is none."""
        return self.text(name) if name in self else None

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def integer(self, name: str, least: int = 0) -> int:
        """A whole number of at least `least`."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.wrong(name, f"a whole number of {least} or more")
        return value

    def optional_integer(self, name: str, least: int = 0) -> int | None:
        """A whole number, or None where there is none."""
        return self.integer(name, least) if name in self else None

    def optional_number(self, name: str) -> float | None:
        """A finite number of 0 or more, or None where there is none."""
        return self._number(self._value[name], self.place(name)) if name in self else None

    def number(self, name: str) -> float:
        """A finite number of 0 or more."""
        return self._number(self._get(name), self.place(name))

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers of 0 or more."""
        return tuple(self._number(value, f"{self.place(name)}[{i}]") for i, value in enumerate(self.items(name)))

    def integers(self, name: str, least: int = 0) -> tuple[int, ...]:
        """A list of whole numbers of at least `least`."""
        values = self.items(name)
        if any(not isinstance(value, int) or isinstance(value, bool) or value < least for value in values):
            raise self.wrong(name, f"a list of whole numbers of {least} or more")
        return tuple(value for value in values if isinstance(value, int))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(name)
        if any(not isinstance(value, str) for value in values):
            raise self.wrong(name, "a list of strings")
        return tuple(str(value) for value in values)

    def items(self, name: str) -> list[object]:
        """A list."""
        value = self._get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value

    def mapping(self, name: str) -> Mapping[str, object]:
        """An object, as it is."""
        value = self._get(name)
        if not isinstance(value, Mapping):
            raise self.wrong(name, "an object")
        return value

    def child(self, name: str) -> Fields:
        """An object's own fields."""
        return Fields(self._get(name), self.place(name))

    def children(self, name: str) -> Iterator[Fields]:
        """The fields of each object in a list."""
        for i, value in enumerate(self.items(name)):
            yield Fields(value, f"{self.place(name)}[{i}]")

    def wrong(self, name: str, wanted: str) -> FieldError:
        """The error that a field is not what was wanted."""
        return FieldError(f"{self.place(name)} is {_shown(self._value.get(name))}, wanted {wanted}")

    def _get(self, name: str) -> object:
        if name not in self._value:
            raise FieldError(f"{self.place(name)} is missing")
        return self._value[name]

    def _number(self, value: object, place: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
            raise FieldError(f"{place} is {_shown(value)}, wanted a finite number of 0 or more")
        return float(value)


def _shown(value: object) -> str:
    return f"{value!r:.40}"
