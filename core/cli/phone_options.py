"""Options of `edgesr bench` that concern devices over adb, gathered into one value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgesr.api.device_benchmark import DeviceOptions

SECONDS = click.FloatRange(0, 86_400)
FILE = click.Path(path_type=Path)
THEIR_BLOCKS = 10
"""benchmark_model gives one sample a block, so more of them."""


@dataclass(frozen=True)
class PhoneOptions:
    """What was typed; None where nothing was."""

    adb: Path | None
    runner: Path | None
    delegate: str | None
    library: tuple[Path, ...]
    runner_option: tuple[str, ...]
    affinity: str | None
    delay_ms: int | None
    cool_down: float | None
    timeout: float | None

    def resolve(
        self, emulated: bool, runs: int | None, warmup: int | None, blocks: int | None, threads: int
    ) -> DeviceOptions:
        """The options for the API, where None means what is usual there.

        Raises `EdgeSRError` for a delegate that nobody knows.
        """
        from edgesr.android_bench.affinity import Affinity
        from edgesr.android_bench.delegates import XNNPACK, find_delegate
        from edgesr.android_bench.protocol import Protocol
        from edgesr.api.device_benchmark import EMULATED_PROTOCOL, DeviceOptions
        from edgesr.api.device_programs import Program

        delegate = XNNPACK if self.delegate is None else find_delegate(self.delegate)
        program = Program(self.runner, delegate, self.library, self.runner_option)
        usual = EMULATED_PROTOCOL if emulated else Protocol()
        runs = usual.runs if runs is None else runs
        theirs = self.runner is not None and not self.runner.is_dir()
        blocks = blocks or (THEIR_BLOCKS if theirs else usual.blocks)
        asked = Protocol(
            runs=runs,
            warmups=usual.warmups if warmup is None else warmup,
            blocks=min(blocks, runs),
            threads=threads,
            affinity=Affinity(self.affinity or usual.affinity.value),
            delay_ms=self.delay_ms or 0,
            cool_down_s=usual.cool_down_s if self.cool_down is None else self.cool_down,
            time_limit_s=self.timeout or usual.time_limit_s,
        )
        return DeviceOptions(asked, program, self.adb)


def phone_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options, handed to the command as one argument, `phone`."""

    @functools.wraps(command)
    def gathered(*arguments: Any, **values: Any) -> Any:
        own = {field.name: values.pop(field.name) for field in fields(PhoneOptions)}
        return command(*arguments, phone=PhoneOptions(**own), **values)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


_OPTIONS = (
    click.option("--adb", type=FILE, help="adb: the program (default: the one on PATH, or adbutils')."),
    click.option("--runner", type=FILE, help="adb: a benchmark_model for the device (default: edgesr's own runner)."),
    click.option("--delegate", metavar="NAME", help="adb: xnnpack, gpu, nnapi, qnn, neuron, litert-npu or litert-gpu."),
    click.option("--library", type=FILE, multiple=True, help="adb: a library that --runner or its delegate needs."),
    click.option("--runner-option", multiple=True, metavar="FLAG", help="adb: one more flag for --runner."),
    click.option("--affinity", type=click.Choice(["big", "all"]), help="adb: the fast cores (default), or all."),
    click.option("--delay-ms", type=click.IntRange(0, 60_000), help="adb: pause between runs."),
    click.option("--cool-down", type=SECONDS, help="adb: seconds to wait for a hot device (default: 120)."),
    click.option(
        "--timeout", type=click.FloatRange(1, 86_400), help="adb: seconds that one block may take (default: 600)."
    ),
)
