"""Where the operators of a file or a model would run on mobile NPUs, by dated tables and by the vendors' compilers.

A file is audited as it is, whoever wrote it. A model is audited without writing files, as 8-bit TFLite would hold it:
after edgesr's folds, and, beside that, as captured. NPUs without DEPTH_TO_SPACE get the folded network with its last
shuffle on the host. What a table and a compiler say stands in placements of their own; where both exist, the compiler
decides. What a compiler printed is kept where an operator is not on the NPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgesr.api.audited_files import READERS, AuditedFile, find_files
from edgesr.api.loading import GivenNetwork, load_network, prints_apart, refuse_bare_class
from edgesr.errors import EdgeSRError
from edgesr.export.npu.by_operator import by_operator
from edgesr.export.npu.compilers import NPU_COMPILERS, NpuCompiler, find_compiler
from edgesr.export.npu.file_operator import OperatorList
from edgesr.export.npu.placement import Place, Placement
from edgesr.export.npu.socs import NamedNpu, every_npu, find_npu
from edgesr.export.npu.table_verdict import place_by_table
from edgesr.export.npu.tables import Supported
from edgesr.progress import Progress, silent
from edgesr.target import Format
from edgesr.user_code import OwnNetwork


@dataclass(frozen=True)
class NpuAudit:
    """One network on one NPU: what the table says, what the compiler said, and what either adds.

    `failure` is why the compiler failed; `notes` are about names, missing compilers and the form that was audited.
    """

    npu: str
    table: Placement
    gate: str
    compiled: Placement | None = None
    failure: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def placements(self) -> tuple[Placement, ...]:
        """The compiler's answer, where there is one, and the table's."""
        return (self.table,) if self.compiled is None else (self.compiled, self.table)

    @property
    def decisive(self) -> Placement:
        """The compiler's answer where there is one, else the table's."""
        return self.placements[0]


@dataclass(frozen=True)
class Subject:
    """One network, from a file or a model, on every NPU asked for; `is_gated` where a gate looks at it."""

    name: str
    audits: tuple[NpuAudit, ...]
    notes: tuple[str, ...] = ()
    is_gated: bool = True


@dataclass(frozen=True)
class AuditReport:
    """All that was audited."""

    subjects: tuple[Subject, ...]

    @property
    def on_cpu(self) -> tuple[tuple[str, str, int], ...]:
        """(network, NPU, operators on the CPU) wherever there are any; all of them where the compiler failed."""
        found = []
        for subject in self.subjects:
            for audit in subject.audits if subject.is_gated else ():
                count = len(audit.table.operators) if audit.failure else audit.decisive.count(Place.CPU)
                found += [(subject.name, audit.npu, count)] if count else []
        return tuple(found)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"subjects": [_subject_json(subject) for subject in self.subjects]}


def audit(
    path_or_model: GivenNetwork,
    npus: Sequence[str] = (),
    progress: Progress = silent,
    compilers: Sequence[NpuCompiler] | None = None,
) -> AuditReport:
    """Audit a .tflite or .onnx file, an export folder, a bundled model by name, a checkpoint, or the user's own class.

    `npus` are families, their members or SoCs; none is every family that has a table, or for a compiled file the NPU
    that it was compiled for. `compilers` None are all there are. An `OwnNetwork` executes its file. Raises
    `ArtifactError` for a corrupt or foreign file, `CheckpointError` or `NetworkError` for a model that is unknown or
    unusable, `UnsupportedOpError` for operators outside the vocabulary, `EdgeSRError` for an NPU that is unknown.
    """
    named = tuple({npu.name: npu for npu in map(find_npu, npus)}.values())
    folder = Path(tempfile.mkdtemp(prefix="edgesr-audit-"))
    try:
        session = _Session(named, folder, progress, NPU_COMPILERS if compilers is None else compilers)
        refuse_bare_class(path_or_model)
        files = None if isinstance(path_or_model, OwnNetwork) else find_files(path_or_model)
        if files is None:
            with prints_apart([path_or_model]):
                return AuditReport(session.model(path_or_model))
        lists = [READERS[file.path.suffix.lower()](file.path) for file in files]
        session.refuse_unread([operators.format for operators in lists])
        return AuditReport(tuple(session.subject(*pair) for pair in zip(lists, files, strict=True)))
    finally:
        with suppress(OSError):
            folder.rmdir()  # logs that compilers left keep it


class _Session:
    """One audit: the NPUs asked for, and what every network is put to."""

    def __init__(
        self, named: tuple[NamedNpu, ...], logs: Path, progress: Progress, compilers: Sequence[NpuCompiler]
    ) -> None:
        self.named, self.logs, self.progress, self.compilers = named, logs, progress, compilers

    def refuse_unread(self, formats: Sequence[Format | None]) -> None:
        """Raise `EdgeSRError` for an NPU that was asked for and reads none of the files."""
        for npu in self.named:
            if not any(format_ in npu.table.formats for format_ in formats):
                read = " or ".join(f".{format_.value}" for format_ in npu.table.formats)
                raise EdgeSRError(f"{npu.name} takes {read} files alone; export such a file and audit that")

    def subject(self, operators: OperatorList, file: AuditedFile) -> Subject:
        """A file on every NPU that reads its format, or on the one that it is compiled for."""
        every = self.named or ((find_npu(file.npu),) if file.npu else every_npu())
        chosen = [npu for npu in every if operators.format in npu.table.formats]
        left = [npu.name for npu in every if operators.format not in npu.table.formats]
        notes = (
            *file.notes,
            *operators.notes,
            *((f"not audited, as they take no such file: {', '.join(left)}",) if left else ()),
        )
        audits = []
        for index, npu in enumerate(chosen):
            self.progress(f"auditing {file.path.name}", index, len(chosen))
            audits.append(self._audit(operators, npu))
        return Subject(file.name, tuple(audits), notes)

    def model(self, given: GivenNetwork) -> tuple[Subject, ...]:
        """A model after the folds, and as captured."""
        from edgesr.export.capture import capture
        from edgesr.export.npu.read_graph import DEFAULT_SIZE, read_graph
        from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
        from edgesr.quant.recipe import INTEGER_FOLDS

        self.progress("capturing the network", 0, 1)
        model = load_network(given)
        captured = capture(model, model.in_channels)
        folded, _ = run_folds(captured, (*NATIVE_FOLDS, *INTEGER_FOLDS))
        height, width = DEFAULT_SIZE
        note = f"operators as 8-bit TFLite would hold them, at {height}x{width}; no file was written"
        npus = self.named or every_npu()
        whole, open_ended = (read_graph(folded, model.name, host_tail=tail) for tail in (False, True))
        after = tuple(self._audit(open_ended if _has_no_shuffle(npu) else whole, npu) for npu in npus)
        before = tuple(self._audit(read_graph(captured, model.name), npu) for npu in npus)
        return (
            Subject(f"{model.name}, after edgesr's folds", after, (note,)),
            Subject(f"{model.name}, as captured", before, (note,), is_gated=False),
        )

    def _audit(self, operators: OperatorList, npu: NamedNpu) -> NpuAudit:
        by_table = place_by_table(operators, npu.table, npu.soc)
        notes = [npu.note] if npu.note else []
        notes += operators.notes if operators.format is None else ()
        compiled, failure = None, ""
        compiler = find_compiler(npu.table.npu, operators.format, self.compilers) if operators.format else None
        if compiler is not None and operators.path is not None:
            target = npu.soc or compiler.npus[npu.table.npu]
            why_not = _why_not_compiled(operators, compiler, target)
            if why_not:
                notes.append(f"not compiled: {why_not}")
            else:
                try:
                    compiled = _without_log(by_operator(compiler.place(operators.path, target, self.logs), operators))
                except EdgeSRError as error:
                    failure = f"{compiler.name} failed: {error}"
        gate = npu.table.origin["gate"]
        return NpuAudit(npu.name, by_table.placement, gate, compiled, failure, by_table.warnings, tuple(notes))


def _has_no_shuffle(npu: NamedNpu) -> bool:
    row = npu.table.rows.get("DEPTH_TO_SPACE")
    return row is not None and row.supported is Supported.NO


def _why_not_compiled(operators: OperatorList, compiler: NpuCompiler, target: str) -> str | None:
    """Why a file is not given to a compiler, None where it is."""
    if target not in compiler.members:
        return f"{compiler.name} does not compile for {target}"
    if operators.format is Format.TFLITE and any(op.compiled_for for op in operators.operators):
        return "it is compiled already; audit the file that it was made from"
    if compiler.wants_fixed_size and any(tensor.is_free for tensor in operators.inputs):
        return f"{compiler.name} compiles fixed sizes alone, this file's is free; fix it by edgesr export --size HxW"
    return compiler.available()


def _without_log(placement: Placement) -> Placement:
    """A placement without its log where there is nothing to look up in it."""
    if placement.log is None or not placement.is_whole:
        return placement
    placement.log.unlink(missing_ok=True)
    return replace(placement, log=None)


def _subject_json(subject: Subject) -> dict[str, object]:
    audits = [
        {
            "npu": audit.npu,
            "table_proves": audit.gate,
            "placements": [_placement_json(placement) for placement in audit.placements],
            "compiler_failure": audit.failure or None,
            "warnings": list(audit.warnings),
            "notes": list(audit.notes),
        }
        for audit in subject.audits
    ]
    return {"name": subject.name, "gated": subject.is_gated, "notes": list(subject.notes), "npus": audits}


def _placement_json(placement: Placement) -> dict[str, object]:
    return {
        "npu": placement.npu,
        "evidence": placement.evidence.value,
        "source": placement.source,
        "counts": {place.value: placement.count(place) for place in Place},
        "whole": placement.is_whole,
        "partitions": placement.partitions,
        "log": None if placement.log is None else str(placement.log),
        "operators": [
            {"name": op.name, "kind": op.kind, "place": op.place.value, "reason": op.reason, "remedy": op.remedy}
            for op in placement.operators
        ],
    }
