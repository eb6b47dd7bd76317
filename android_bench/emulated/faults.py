"""What an emulated device does wrong, or reports, for tests: all off and nothing by default."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Auth(enum.Enum):
    """What the device does with a host's key."""

    NONE = "none"
    """it asks for none"""
    ACCEPT = "accept"
    """it asks, and accepts the first that it is offered, as if somebody tapped Allow"""
    REJECT = "reject"
    """it asks and never accepts: the device stays `unauthorized`"""


@dataclass(frozen=True)
class Faults:
    """A device's misbehaviour and its readings.

    `drop_after_seconds` counts from the first connection, `drop_on_command` is a text in a shell command that is
    opened, `drop_on_output` one in what a command prints, `drop_on_push` one in the path of a push; a dropped device
    closes its connections and is never seen again. `offline`: after the first connection the device no longer answers,
    though its port does.
    `no_space_after_bytes` are the bytes that adb can push before the device is full.
    `read_only` makes the work folder refuse every write. `files` are device paths (below /sys, /proc or anywhere) and
    what they hold; `services` are names of `dumpsys` services and what they print; `properties` are added to those of
    getprop.
    """

    auth: Auth = Auth.NONE
    shell_v2: bool = True
    offline: bool = False
    drop_after_seconds: float | None = None
    drop_on_command: str | None = None
    drop_on_output: str | None = None
    drop_on_push: str | None = None
    read_only: bool = False
    no_space_after_bytes: int | None = None
    abi: str = "arm64-v8a"
    properties: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no device can do."""
        for name in ("drop_after_seconds", "no_space_after_bytes"):
            if (value := getattr(self, name)) is not None and value < 0:
                raise ValueError(f"{name} is {value}; give 0 or more")
        for path in self.files:
            if not path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{path!r} is no absolute path on a device")
        for service in self.services:
            if not service or "/" in service:
                raise ValueError(f"{service!r} is no name of a service")
        if not self.abi:
            raise ValueError("a device has an ABI")
