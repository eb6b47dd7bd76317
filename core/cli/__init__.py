"""The command line: thin commands over `edgesr.api`, errors in one line, heavy packages imported inside commands."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import click

from edgesr.cli.audit import audit
from edgesr.cli.bench import bench
from edgesr.cli.compare import compare
from edgesr.cli.config import config
from edgesr.cli.console import help_without_command
from edgesr.cli.devices import devices
from edgesr.cli.doctor import doctor
from edgesr.cli.export import export
from edgesr.cli.kit import kit
from edgesr.cli.listing import models, targets
from edgesr.cli.report import report
from edgesr.cli.run import run
from edgesr.cli.score import score
from edgesr.cli.settings import configuration_options, make_configurable, remember_sources
from edgesr.cli.train import train
from edgesr.cli.verify import verify
from edgesr.errors import EdgeSRError

FAILED, MISUSED = 1, 2
TRACEBACK_VARIABLE = "EDGESR_TRACEBACK"
INTERRUPTED = "interrupted; finished files stay, none is half-written"
OUT_OF_MEMORY = "out of memory; choose a smaller --size, or fewer or smaller images"
ALLOCATION_FAILURES = ("allocate memory", "not enough memory", "bad_alloc", "bad allocation", "Failed to allocate")
"""How torch and the runtimes word, as plain RuntimeErrors, that memory ran out."""


class _Commands(click.Group):
    """A group that ends in one line on Ctrl-C, where click would write an empty one before."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.ClickException(str(error) or INTERRUPTED) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=True,
)
@click.version_option(package_name="edgesr", prog_name="edgesr")
@configuration_options
@click.pass_context
def cli(context: click.Context, config: Path | None, no_config: bool, settings: tuple[str, ...]) -> None:
    """Bring efficient image-restoration networks from PyTorch onto mobile NPUs, with proof."""
    help_without_command(context, MISUSED)
    remember_sources(context, config, no_config, settings)


for command in (
    export, verify, bench, audit, score, models, targets, devices, doctor, config, train, run, report, kit,
    compare,
):  # fmt: skip
    cli.add_command(command)
make_configurable(cli)


def main() -> None:
    """Run the command line: exit 0, 1 for an error, 2 for misuse, 3 for a gate that was not met."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(_run())


def _run() -> int:
    try:
        result = cli.main(prog_name="edgesr", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EdgeSRError as error:
        return _complain(str(error), error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "edgesr"
        return _complain(f"{error.format_message().rstrip('.')}; see {command} --help", MISUSED)
    except click.ClickException as error:
        return _complain(error.format_message(), FAILED)
    except (KeyboardInterrupt, click.Abort) as interrupt:
        return _complain(str(interrupt) or INTERRUPTED, FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}; check the path and the disk", FAILED)
    except MemoryError:
        return _complain(OUT_OF_MEMORY, FAILED)
    except Exception as error:  # what nobody foresaw is a defect of edgesr, and still one line
        return _complain_of_defect(error)


def _complain(message: str, code: int) -> int:
    click.echo(f"edgesr: {' '.join(message.split())}", err=True)
    return code


def _complain_of_defect(error: Exception) -> int:
    if any(words in str(error) for words in ALLOCATION_FAILURES):
        return _complain(OUT_OF_MEMORY, FAILED)
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exc()
    what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return _complain(f"a defect in edgesr ({what}); report what {TRACEBACK_VARIABLE}=1 prints before this", FAILED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
