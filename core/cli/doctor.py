"""`edgesr doctor`: what this machine can do now, and how to get the rest."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass

import click

from edgesr.cli.console import output_options, print_json, print_table

REQUIRED = (
    "torch", "onnx", "onnxscript", "onnxruntime", "onnxsim", "ai-edge-litert", "flatbuffers", "numpy", "click",
    "safetensors", "pillow", "isal",
)  # fmt: skip


@dataclass(frozen=True)
class Extra:
    """An optional backend: the distribution that brings it, the extra that installs it, and what it is for."""

    distribution: str
    extra: str
    purpose: str


EXTRAS: tuple[Extra, ...] = (
    Extra("onnxruntime-qnn", "qnn", "Qualcomm HTP compiler and emulator"),
    Extra("ethos-u-vela", "ethos-u", "Arm Ethos-U compiler"),
    Extra("triton", "cuda", "fused CUDA kernels"),
    Extra("litert-torch", "litert-torch", "Google's converter, to compare with"),
    Extra("aimet-onnx", "aimet", "Qualcomm's quantizer, to compare with"),
    Extra("tensorflow", "tensorflow", "TensorFlow's interpreter, as a witness"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    item: str
    found: str
    remedy: str


@click.command(short_help="Report versions, optional backends and this machine.")
@output_options
def doctor(as_json: bool, quiet: bool) -> None:
    """Report versions, optional backends with the line that installs them, and this machine."""
    findings = [_required(name) for name in REQUIRED] + [_optional(extra) for extra in EXTRAS] + _cuda()
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    missing = [finding.item for finding in findings if finding.remedy and finding.item in REQUIRED]
    if as_json:
        print_json({"machine": machine, "findings": [asdict(finding) for finding in findings], "missing": missing})
    elif not quiet:
        click.echo(f"Python {machine['python']} on {machine['system']}, {machine['cores']} cores\n")
        print_table(("package", "version", "remedy"), [(f.item, f.found, f.remedy) for f in findings])
    if missing:
        raise click.ClickException(f"missing: {', '.join(missing)}; run pip install edgesr again")


def _required(name: str) -> Finding:
    version = installed_version(name)
    return Finding(name, version or "missing", "" if version else "pip install edgesr")


def _optional(extra: Extra) -> Finding:
    version = installed_version(extra.distribution)
    remedy = "" if version else f'pip install "edgesr[{extra.extra}]"  ({extra.purpose})'
    return Finding(extra.distribution, version or "not installed (optional)", remedy)


def _cuda() -> list[Finding]:
    """Which CUDA backends run here, on what, and why the others do not."""
    if installed_version("torch") is None:
        return []
    from edgesr.runtime.cuda.backend import backend_states

    return [
        Finding(state.runner, ": ".join(part for part in (state.runs_on or "no", state.why_not) if part), state.remedy)
        for state in backend_states()
    ]


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, None where it is absent."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
