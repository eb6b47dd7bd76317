"""Where the errors of exported files come from: runs of one network compared with each other, and with the float graph.

Files made from one graph at one precision belong together, whatever their format: their tensors are compared pair by
pair, INT8 with exact integer arithmetic too, and the sources of an INT8 error are found once for all of them, in the
first file and runner. Nothing here is a verdict; `proving` gives those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesr.api.proving import all_cases, held_by_file, operator_case
from edgesr.api.small_copy import provable
from edgesr.artifact import Artifact
from edgesr.graph import Graph
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.divergence import Trace, compare_runs
from edgesr.runtime.error_sources import find_error_sources
from edgesr.runtime.operator_parity import by_graph_names
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import IntegerRunner
from edgesr.target import Precision

ANY_FILE = "(any)"
"""The file of a run of exact integer arithmetic, which is the same for all of a network's files."""


@dataclass(frozen=True, eq=False)
class ProvenFile:
    """A file whose parity was measured: where what runs of it is, its network, and the runners it was measured in."""

    artifact: Artifact
    path: Path
    network: Graph | QuantizedGraph
    runners: tuple[str, ...]

    @property
    def origin(self) -> tuple[str | None, Precision, int]:
        """What files must share for their tensors to be comparable."""
        return self.artifact.graph, self.artifact.find_target().precision, self.artifact.contract.host_shuffle

    @property
    def held(self) -> Graph | QuantizedGraph:
        """What of the network the file itself computes."""
        return held_by_file(self.network, self.artifact.contract)[0]


def locate_errors(
    files: Sequence[ProvenFile], images: Sequence[np.ndarray], progress: Progress = silent
) -> ParityReport:
    """The first divergence of each pair of runs, and the error sources of each INT8 network, on one natural image."""
    report = ParityReport((), ())
    for origin in dict.fromkeys(file.origin for file in files):
        runs: dict[bytes, list[Trace]] = {}
        cases: dict[bytes, ParityCase] = {}
        related = [file for file in files if file.origin == origin]
        for file in related:
            for case, trace in _trace(file, images):
                cases[case.image.tobytes()] = case
                runs.setdefault(case.image.tobytes(), []).append(trace)
        for key, traces in runs.items():
            report = report.joined(_locate(related[0].held, origin[1], cases[key], traces, progress))
    return report


def _trace(file: ProvenFile, images: Sequence[np.ndarray]) -> Iterator[tuple[ParityCase, Trace]]:
    target = file.artifact.find_target()
    with provable(file.path, target, file.artifact.contract) as (path, contract, _):
        case = operator_case(all_cases(contract, images))
        held, held_contract = held_by_file(file.network, contract)
        for name in file.runners:
            shown = open_runner(name, target, path, held_contract).trace(case.image)
            yield case, Trace(file.artifact.file, name, by_graph_names(held, shown, case))


def _locate(
    network: Graph | QuantizedGraph,
    precision: Precision,
    case: ParityCase,
    traces: Sequence[Trace],
    progress: Progress,
) -> ParityReport:
    if not isinstance(network, QuantizedGraph):
        return ParityReport((), (), tuple(compare_runs(network, precision, traces)))
    integers = IntegerRunner(network)
    exact = Trace(ANY_FILE, integers.name, integers.trace(case.image))
    divergences = compare_runs(network, precision, [exact, *traces])
    complete = _shapes(exact, network).items() <= _shapes(traces[0], network).items()
    sources = (find_error_sources(network, traces[0], case, progress),) if complete else ()
    return ParityReport((), (), tuple(divergences), sources)


def _shapes(trace: Trace, network: QuantizedGraph) -> dict[str, tuple[int, ...]]:
    return {name: trace.tensors[name].shape for name in network.graph.specs if name in trace.tensors}
