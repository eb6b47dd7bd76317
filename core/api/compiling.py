"""Compiling a proven file for one NPU: a vendor's compiler takes all of it, or the export fails and says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesr.api.export_request import Job


@dataclass(frozen=True, eq=False)
class CompiledFile:
    """A file as it ships, what lies beside it by name, and what the manifest records of how it was compiled."""

    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


def compile_file(content: bytes, job: Job, file: str) -> CompiledFile:
    """Compile what a job's target is made from; raises `ExportError` where anything would stay on the CPU."""
    assert job.target.compiler is not None
    raise NotImplementedError
