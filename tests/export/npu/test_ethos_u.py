"""What is made of Vela's answers: good ones, failures, hangs and rubbish, by a Vela that does as it is told."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesr.errors import ArtifactError, ExportError, MissingBackendError
from edgesr.ethos_u import find_ethos_u
from edgesr.export.npu.ethos_u import ARENA_BYTES, compile_ethos_u, place_on_ethos_u
from edgesr.export.npu.placement import Evidence, Place
from edgesr.export.npu.tflite_listing import list_operators

FakeVela = Callable[..., None]
U85 = find_ethos_u("ethos-u85-1024")
ECHO = "save(pathlib.Path(args.network).read_bytes(), {summary!r}, {layers!r})\n"
WARN = (
    "print('TfLiteReader: noise\\n')\n"
    "print('Warning (supported operators) operator: {kind}, ofm: \\'{name}\\'\\nReason: too\\nwide\\n')\n"
)
ABORT = """
if "DEPTHWISE_CONV_2D" not in args.ignore_ops:
    sys.exit("Compilation failed: could not run on NPU")
"""


@pytest.fixture
def echo(vela_texts: tuple[str, str]) -> str:
    """Code of a Vela that takes nothing and says so."""
    return ECHO.format(summary=vela_texts[0], layers=vela_texts[1])


def test_what_is_left_in_the_file_is_on_the_cpu(
    fake_vela: FakeVela, echo: str, native_file: bytes, tmp_path: Path
) -> None:
    listed = list_operators(native_file, "file")
    fake_vela(WARN.format(kind=listed[0].kind, name=listed[0].name) + echo)
    compiled = compile_ethos_u(native_file, U85, tmp_path, source="net.tflite")
    placement = compiled.placement
    assert (placement.npu, placement.evidence, placement.source) == (U85.name, Evidence.COMPILED, "Vela 5.2.0")
    assert (placement.partitions, placement.count(Place.CPU)) == (0, len(listed))
    assert [(op.name, op.kind) for op in placement.operators] == [(op.name, op.kind) for op in listed]
    assert placement.operators[0].reason == "too wide"
    assert placement.operators[-1].reason == "Vela left it to the CPU without a reason"
    assert "shuffle on the host" in placement.operators[-1].remedy
    assert compiled.estimate.cycles == 400 and compiled.content == native_file
    assert placement.log == tmp_path / "net.ethos-u85-1024.vela.log" and "TfLiteReader" in placement.log.read_text()
    with pytest.raises(
        ExportError, match=r"CONV_2D 'conv_near' and \d+ more would run on the CPU .*: too wide; .*\.log"
    ):
        compiled.require_whole()


def test_vela_is_told_the_system_that_the_table_says(
    fake_vela: FakeVela, echo: str, native_file: bytes, tmp_path: Path
) -> None:
    fake_vela("print(vars(args))\n" + echo)
    log = compile_ethos_u(native_file, U85, tmp_path, arena_cache_bytes=4096).placement.log
    assert log is not None
    told = log.read_text()
    for word in ("ethos-u85-1024", "Ethos_U85_SYS_DRAM_High", "Dedicated_Sram", "'arena_cache_size': '4096'"):
        assert word in told


def test_a_network_larger_than_the_arena(fake_vela: FakeVela, echo: str, native_file: bytes, tmp_path: Path) -> None:
    fake_vela(echo)
    message = (
        r"net needs 2 KiB of SRAM on ethos-u85-1024, the arena has 1 KiB \(most at Conv2D 'conv'\); .*smaller --size"
    )
    with pytest.raises(ExportError, match=message):
        compile_ethos_u(native_file, U85, tmp_path, arena_cache_bytes=1024, source="net")
    with pytest.raises(ExportError, match="an arena of 0 bytes holds nothing"):
        compile_ethos_u(native_file, U85, tmp_path, arena_cache_bytes=0)


def test_a_failure_names_the_operator_that_it_is_about(
    fake_vela: FakeVela, echo: str, native_file: bytes, tmp_path: Path
) -> None:
    fake_vela(ABORT + echo)
    with pytest.raises(ExportError) as caught:
        compile_ethos_u(native_file, U85, tmp_path, source="net.tflite")
    message = str(caught.value)
    assert message.startswith(
        "Vela on net.tflite ended with code 1: Compilation failed: could not run on NPU; it works"
    )
    assert "once DEPTHWISE_CONV_2D ('depthwise_conv') is kept from the NPU: make it a dense CONV_2D" in message
    assert message.endswith(f"its output is in {tmp_path / 'net.ethos-u85-1024.vela.log'}") and "\n" not in message
    assert "could not run on NPU" in (tmp_path / "net.ethos-u85-1024.vela.log").read_text()


def test_where_vela_aborts_an_audit_still_says_which_operators(
    fake_vela: FakeVela, echo: str, native_file: bytes, tmp_path: Path
) -> None:
    fake_vela(ABORT + echo)
    path = tmp_path / "net.tflite"
    path.write_bytes(native_file)
    placement = place_on_ethos_u(path, U85, tmp_path)
    (depthwise,) = [op for op in placement.operators if op.kind == "DEPTHWISE_CONV_2D"]
    assert depthwise.place is Place.CPU and "could not run on NPU, unless DEPTHWISE_CONV_2D is kept" in depthwise.reason
    assert placement.log is not None and "without-DEPTHWISE_CONV_2D" in placement.log.name and placement.log.exists()


def test_of_several_of_a_kind_the_one_that_vela_aborts_over(
    fake_vela: FakeVela, echo: str, native_file: bytes, tmp_path: Path
) -> None:
    """This Vela chokes on the third convolution, which it knows by its name."""
    path = tmp_path / "net.tflite"
    path.write_bytes(native_file)
    convolutions = [op for op in list_operators(native_file, "net") if op.kind == "CONV_2D"]
    culprit = convolutions[2]
    find = (
        "from edgesr.export.npu.tflite_listing import list_operators\n"
        "listed = list_operators(pathlib.Path(args.network).read_bytes(), 'x')\n"
        f"kind = next(op.kind for op in listed if op.name == {culprit.name!r})\n"
        "if kind not in ('set-aside', *args.ignore_ops): sys.exit('could not run')\n"
    )
    fake_vela(find + echo)
    placement = place_on_ethos_u(path, U85, tmp_path)
    blamed = [op for op in placement.operators if "could not run" in op.reason]
    assert [(op.name, op.kind, op.place) for op in blamed] == [(culprit.name, "CONV_2D", Place.CPU)]
    assert blamed[0].reason.endswith("unless it is kept from the NPU")
    assert placement.log is not None and placement.log.name.endswith(f".without-{culprit.index}.log")


def test_a_failure_over_no_single_operator(fake_vela: FakeVela, native_file: bytes, tmp_path: Path) -> None:
    fake_vela("import os; os.kill(os.getpid(), 11)")
    path = tmp_path / "net.tflite"
    path.write_bytes(native_file)
    message = r"Vela on net.tflite died of SIGSEGV; no single kind of operator is the cause: .*net\.ethos.*\.log$"
    for run in (
        lambda: compile_ethos_u(native_file, U85, tmp_path, source="net.tflite"),
        lambda: place_on_ethos_u(path, U85, tmp_path),
    ):
        with pytest.raises(ExportError, match=message):
            run()


def test_a_hang(fake_vela: FakeVela, native_file: bytes, tmp_path: Path) -> None:
    fake_vela("print('working', flush=True); time.sleep(60)")
    with pytest.raises(ExportError, match=r"^Vela on the model ran past 1\.5 s and was stopped; .*vela\.log$"):
        compile_ethos_u(native_file, U85, tmp_path, time_limit_s=1.5)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", r"ended well but left no readable network_vela\.tflite; see .*\.log$"),
        ("save(b'rubbish', '', '')", r"wrote a report that cannot be read .*; its output is in .*\.log$"),
        ("save(b'rubbish', SUMMARY, LAYERS)", r"Vela 5.2.0 wrote no sound file for the model .*; see .*\.log$"),
        ("save(OTHER, SUMMARY, LAYERS)", r"left 'pixel_shuffle' behind, which the model does not have; see .*\.log$"),
    ],
)
def test_rubbish(
    code: str, message: str, fake_vela: FakeVela, bare_file: bytes, native_file: bytes, vela_texts: tuple[str, str],
    tmp_path: Path,
) -> None:  # fmt: skip
    given = f"SUMMARY, LAYERS = {vela_texts!r}\nOTHER = pathlib.Path({str(tmp_path / 'other')!r}).read_bytes()\n"
    (tmp_path / "other").write_bytes(native_file)
    fake_vela(given + code)
    with pytest.raises(ExportError, match=message):
        compile_ethos_u(bare_file, U85, tmp_path)


def test_files_that_vela_is_not_asked_about(
    fake_vela: FakeVela, small_network: object, emit: Callable[..., bytes], tmp_path: Path
) -> None:
    fake_vela("sys.exit('must not run')")
    with pytest.raises(ExportError, match="holds several image sizes; an estimate is for one"):
        compile_ethos_u(emit(small_network, (8, 8), (12, 8)), U85, tmp_path)
    with pytest.raises(ArtifactError, match=r"x\.tflite is no TFLite file"):
        compile_ethos_u(b"x" * 100, U85, tmp_path, source="x.tflite")
    with pytest.raises(ArtifactError, match=r"cannot read .*none\.tflite: No such file"):
        place_on_ethos_u(tmp_path / "none.tflite", U85, tmp_path)
    assert not list(tmp_path.glob("*.log"))


def test_no_vela_or_an_old_one(monkeypatch: pytest.MonkeyPatch, native_file: bytes, tmp_path: Path) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(
        MissingBackendError, match=r'ethos-u-vela is not installed; run pip install "edgesr\[ethos-u\]"'
    ):
        compile_ethos_u(native_file, U85, tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.1.0")
    with pytest.raises(MissingBackendError, match=r"4\.1\.0 is too old, 5\.2 is needed; run pip install -U"):
        place_on_ethos_u(tmp_path / "any.tflite", U85, tmp_path)


def test_the_arena_is_two_mebibytes_unless_told() -> None:
    assert ARENA_BYTES == 2_097_152
