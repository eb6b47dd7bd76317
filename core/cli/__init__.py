"""The command line: thin commands over `edgesr.api`, errors in one line, heavy packages imported inside commands."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import click

from edgesr.cli.bench import bench
from edgesr.cli.doctor import doctor
from edgesr.cli.export import export
from edgesr.cli.listing import models, targets
from edgesr.cli.verify import verify
from edgesr.errors import EdgeSRError

FAILED, MISUSED = 1, 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="edgesr", prog_name="edgesr")
def cli() -> None:
    """Bring efficient image-restoration networks from PyTorch onto mobile NPUs, with proof."""


for command in (export, verify, bench, models, targets, doctor):
    cli.add_command(command)


def main() -> None:
    """Run the command line: exit 0, 1 for an error, 2 for misuse, 3 for a gate that was not met."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(_run())


def _run() -> int:
    try:
        result = cli.main(standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EdgeSRError as error:
        return _complain(str(error), error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "edgesr"
        return _complain(f"{error.format_message()}; see {command} --help", MISUSED)
    except click.ClickException as error:
        return _complain(error.format_message(), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted; finished files stay, none is half-written", FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}; check the path and the disk", FAILED)
    except MemoryError:
        return _complain("out of memory; choose a smaller --size or fewer images", FAILED)


def _complain(message: str, code: int) -> int:
    click.echo(f"edgesr: {' '.join(message.split())}", err=True)
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
