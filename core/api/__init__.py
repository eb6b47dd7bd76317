"""The commands as Python functions; with the command line, the only place that sees every package."""

from edgesr.api.auditing import AuditReport, audit
from edgesr.api.benchmarking import bench
from edgesr.api.estimating import FileEstimate, estimate
from edgesr.api.export_request import ExportRequest
from edgesr.api.exporting import ExportResult, export
from edgesr.api.verifying import verify_parity, verify_quality

__all__ = [
    "AuditReport",
    "ExportRequest",
    "ExportResult",
    "FileEstimate",
    "audit",
    "bench",
    "estimate",
    "export",
    "verify_parity",
    "verify_quality",
]
