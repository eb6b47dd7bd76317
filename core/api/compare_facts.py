"""What is known of two artifacts without running them: contracts, sizes, operators, NPUs, precision, parity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgesr.api.audited_files import READERS
from edgesr.api.auditing import NpuAudit, audit
from edgesr.api.compare_rows import PSNR_DB, CompareRow, Verdict, exact_number, fact, finite
from edgesr.artifact import Artifact, Manifest
from edgesr.export.npu.file_operator import OperatorList
from edgesr.export.npu.placement import Place
from edgesr.report.values import entry
from edgesr.runtime.whole_parity import change_db

CONTRACT = (
    "dtype", "layout", "channels", "upscale", "value_range", "scale", "zero_point", "size_multiple", "host_shuffle",
    "any_size",
)  # fmt: skip
"""The contract's entries beside the sizes, as a manifest names them."""


@dataclass(frozen=True)
class Side:
    """One of the two artifacts, in its folder."""

    manifest: Manifest
    artifact: Artifact

    @property
    def path(self) -> Path:
        """The file."""
        return self.manifest.folder / self.artifact.file

    def read(self) -> OperatorList:
        """Its operators, of a compiled file those of what it was compiled from."""
        path = self.manifest.runnable(self.artifact)
        return READERS[path.suffix.lower()](path)

    def recorded(self, *names: str) -> object:
        """An entry of the facts that its export recorded; None where there is none."""
        return entry(self.artifact.facts, *names)


def fact_rows(a: Side, b: Side) -> list[CompareRow]:
    """Everything, the file's bytes checked against their manifests."""
    for side in (a, b):
        side.manifest.check(side.artifact)
    return [*_file_rows(a, b), *_contract_rows(a, b), *_operator_rows(a, b), *_npu_rows(a, b), *_parity_rows(a, b)]


def _file_rows(a: Side, b: Side) -> Iterator[CompareRow]:
    yield fact("file", "target", a.artifact.target, b.artifact.target)
    digests = a.artifact.sha256[:12], b.artifact.sha256[:12]
    verdict = Verdict.EQUAL if a.artifact.sha256 == b.artifact.sha256 else Verdict.SMALL
    yield CompareRow(
        "file", "sha256", a.artifact.sha256, b.artifact.sha256, digests, "", verdict,
        "other bytes matter by what they change",
    )  # fmt: skip
    yield exact_number("file", "size", a.artifact.size_bytes, b.artifact.size_bytes, "bytes")
    yield fact("file", "weights", *(_weights(side) for side in (a, b)))
    for name in ("parameters", "macs_per_input_pixel"):
        first, second = (_number(side.recorded("graph", name)) for side in (a, b))
        yield exact_number("network", name.replace("_", " "), first, second)
    yield fact("precision", "target", *(s.artifact.find_target().precision.value for s in (a, b)))


def _weights(side: Side) -> str | None:
    digest = side.recorded("model", "sha256")
    return str(digest)[:12] if digest else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _contract_rows(a: Side, b: Side) -> Iterator[CompareRow]:
    first, second = (side.artifact.contract.to_json() for side in (a, b))
    for name in CONTRACT:
        yield fact("contract", name.replace("_", " "), first.get(name), second.get(name))
    sizes = [[f"{height}x{width}" for height, width in side.artifact.contract.sizes] for side in (a, b)]
    yield fact("contract", "sizes", *sizes)


def _operator_rows(a: Side, b: Side) -> Iterator[CompareRow]:
    lists = a.read(), b.read()
    counts = [Counter(op.table_kind or op.kind for op in operators.operators) for operators in lists]
    yield fact("operators", "all", *(count.total() for count in counts))
    for kind in sorted(counts[0] | counts[1]):
        yield fact("operators", kind, *(count[kind] for count in counts))
    types = [
        Counter(t.dtype.value for op in operators.operators for t in op.outputs if not t.is_constant)
        for operators in lists
    ]
    for name in sorted(types[0] | types[1]):
        yield fact("precision", f"tensors in {name}", *(count[name] for count in types))


def _npu_rows(a: Side, b: Side) -> Iterator[CompareRow]:
    """What the dated tables say; no compiler is asked."""
    audits = [{found.npu: found for found in _audited(side)} for side in (a, b)]
    for npu in dict.fromkeys((*audits[0], *audits[1])):
        yield fact("NPU", npu, *(_placement(found.get(npu)) for found in audits))


def _audited(side: Side) -> tuple[NpuAudit, ...]:
    (subject,) = audit(side.path, compilers=()).subjects
    return subject.audits


def _placement(found: NpuAudit | None) -> str:
    """How many operators are refused, in words; where it is all of them, their number says nothing of the NPU."""
    if found is None:
        return "takes no such file"
    total = len(found.table.operators)
    refused, unknown = (found.table.count(place) for place in (Place.CPU, Place.UNKNOWN))
    if total in (refused, unknown):
        return "all refused" if refused else "all unknown"
    parts = [f"{refused} refused"] if refused else []
    if unknown:
        parts.append("the others unknown" if refused + unknown == total else f"{unknown} unknown")
    return ", ".join(parts) or "all taken"


def _parity_rows(a: Side, b: Side) -> Iterator[CompareRow]:
    """The worst PSNR to the PyTorch network that each export recorded, in the runners of its target."""
    found = []
    for side in (a, b):
        runner = side.artifact.find_target().runners[0]
        found.append(_number(side.recorded("parity", "worst", runner, "psnr_db")))
    first, second = found
    if first is None or second is None:
        yield fact("parity", "worst PSNR to PyTorch, dB", first, second)
        return
    costs = change_db(first), change_db(second)
    apart = abs(costs[0] - costs[1])
    verdict = Verdict.EQUAL if first == second else Verdict.SMALL if apart < PSNR_DB else Verdict.MATTERS
    yield CompareRow(
        "parity", "worst PSNR to PyTorch, dB", finite(first), finite(second), (f"{first:.2f}", f"{second:.2f}"),
        f"{second - first:+.2f}" if first != second else "", verdict,
        f"matters where a picture of 30 dB loses {PSNR_DB:g} dB more or less by it",
    )  # fmt: skip
