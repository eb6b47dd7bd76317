"""`edgesr bench` on devices: what came of each, on the screen and in files, also where it broke off."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesr.atomic import write_atomically
from edgesr.errors import DeviceError, ExportError

LEFT = "blocks that were finished stay, and the next run removes what may be left on the device"

if TYPE_CHECKING:
    from edgesr.api.device_benchmark import DeviceOutcome
    from edgesr.runtime.bench_record import BenchRecord


def show_outcomes(
    outcomes: Sequence[DeviceOutcome], out: Path | None, show: Callable[[BenchRecord], None] | None
) -> None:
    """Show and write each record, then raise the first error; partial records are kept, and named in it.

    `show` prints a record for people; None prints nothing. `out` names the JSON file; with several devices each has
    its own, named after it.
    """
    for outcome in outcomes:
        if outcome.record is not None and show is not None:
            show(outcome.record)
    several = sum(outcome.record is not None for outcome in outcomes) > 1
    kept = [(outcome, _keep(outcome, out, several)) for outcome in outcomes]
    failed = [(outcome, path) for outcome, path in kept if outcome.error is not None]
    for outcome, path in failed[1:]:
        click.echo(f"edgesr: {_tell(outcome, path)}", err=True)
    if failed:
        outcome, path = failed[0]
        raise _error(outcome, path)


def _error(outcome: DeviceOutcome, path: Path | None) -> BaseException:
    """The error of an outcome with its own kind (and so its exit code), saying where the samples are."""
    error, told = outcome.error, _tell(outcome, path)
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(told)
    return type(error)(told) if error is not None else DeviceError(told)


def _tell(outcome: DeviceOutcome, path: Path | None) -> str:
    error = outcome.error
    said = f"interrupted; {LEFT}" if isinstance(error, KeyboardInterrupt) else str(error)
    said = said if outcome.device.partition(":")[2] in said else f"{outcome.device}: {said}"
    where = f"; what was measured is in {path}" if path is not None else ""
    log = f"; log: {outcome.log}" if outcome.log.exists() and str(outcome.log) not in said else ""
    return f"{said}{where}{log}"


def named_after(path: Path, outcome: DeviceOutcome, several: bool) -> Path:
    """A file's name for one device; with several of them, with the device's in it, as its log has it."""
    return path.with_name(f"{path.stem}-{outcome.log.stem}{path.suffix}") if several else path


def _keep(outcome: DeviceOutcome, out: Path | None, several: bool) -> Path | None:
    """Write a record where it was asked for; beside its log where that cannot be, or where it is a part of one."""
    record, beside = outcome.record, outcome.log.with_suffix(".json")
    if record is None or (out is None and outcome.error is None):
        return None
    try:
        return _write(record, beside if out is None else named_after(out, outcome, several))
    except ExportError as error:
        click.echo(f"edgesr: {error}; what was measured is in {_write(record, beside)}", err=True)
        if outcome.error is None:
            raise click.exceptions.Exit(1) from error
        return beside


def _write(record: BenchRecord, path: Path) -> Path:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(record.to_json(), indent=2) + "\n", encoding="utf-8")
    return path
