"""The commands as Python functions; with the command line, the only place that sees every package."""

from edgesr.api.auditing import AuditReport, audit
from edgesr.api.benchmarking import bench
from edgesr.api.compare_measuring import Timing
from edgesr.api.comparing import ArtifactComparisons, compare
from edgesr.api.cuda_benchmark import bench_on_cuda
from edgesr.api.device_benchmark import DeviceOptions, bench_on_devices
from edgesr.api.devices import list_devices
from edgesr.api.estimating import FileEstimate, estimate
from edgesr.api.export_request import ExportRequest
from edgesr.api.exporting import ExportResult, export
from edgesr.api.kit import DeploymentKit, write_kit
from edgesr.api.rebuild_plan import RebuildRequest
from edgesr.api.rebuilding import RebuildResult, rebuild
from edgesr.api.reporting import report
from edgesr.api.run_record import RunRecord
from edgesr.api.running import RunOptions, run
from edgesr.api.scoring import TimedRuns, score
from edgesr.api.training import TrainingRequest, TrainingResult, train
from edgesr.api.verifying import verify_parity, verify_quality
from edgesr.user_code import OwnNetwork

__all__ = [
    "ArtifactComparisons",
    "AuditReport",
    "DeploymentKit",
    "DeviceOptions",
    "ExportRequest",
    "ExportResult",
    "FileEstimate",
    "OwnNetwork",
    "RebuildRequest",
    "RebuildResult",
    "RunOptions",
    "RunRecord",
    "TimedRuns",
    "Timing",
    "TrainingRequest",
    "TrainingResult",
    "audit",
    "bench",
    "bench_on_cuda",
    "bench_on_devices",
    "compare",
    "estimate",
    "export",
    "list_devices",
    "rebuild",
    "report",
    "run",
    "score",
    "train",
    "verify_parity",
    "verify_quality",
    "write_kit",
]
