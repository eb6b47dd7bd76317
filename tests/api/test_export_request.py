"""Which files an export writes: one for each target, and for each NPU that it is compiled for."""

from pathlib import Path

import pytest

from edgesr.api.export_request import ExportRequest
from edgesr.errors import ExportError
from edgesr.target import IODtype, Layout, find_target


def stems(targets: tuple[str, ...], **fields: object) -> list[str]:
    found = tuple(target for name in targets if (target := find_target(name)) is not None)
    request = ExportRequest(found, Path("out"), **fields)  # type: ignore[arg-type]  # a test names real fields
    return [job.stem for job in request.jobs]


def test_a_compiled_target_is_written_for_each_of_its_npus() -> None:
    npus = ("snapdragon-8-gen-2", "SM8750", "snapdragon-8-gen-2")
    expected = ["int8", "qnn-int8-snapdragon-8-gen-2", "qnn-int8-snapdragon-8-elite"]
    assert stems(("tflite-int8", "qnn-int8"), npus=npus) == expected


def test_an_accelerators_own_target_needs_no_npu_and_ignores_another() -> None:
    assert stems(("ethos-u85-1024",)) == ["ethos-u85-1024"]
    assert stems(("ethos-u85-1024", "qnn-fp16"), npus=("snapdragon-8-elite",)) == [
        "ethos-u85-1024", "qnn-fp16-snapdragon-8-elite",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("targets", "fields", "message"),
    [
        ((), {}, "nothing to export; name a target"),
        (("qnn-int8",), {}, "qnn-int8 is compiled for one NPU; name it with --npu: .*snapdragon-8-elite"),
        (("qnn-int8",), {"npus": ("qualcomm-htp",)}, "is compiled for one NPU"),
        (("tflite-int8",), {"npus": ("generic", "SM8750")}, "nothing is compiled for snapdragon-8-elite: .*generic"),
        (("qnn-int8",), {"npus": ("SM8750",), "io": IODtype.INT8}, "qnn-int8 has no int8 I/O; choose from uint8"),
        (("qnn-int8",), {"npus": ("SM8750",), "layout": Layout.NCHW}, "no nchw layout; choose from nhwc"),
        (("ethos-u85-1024",), {"sizes": ((8, 8), (9, 9))}, "ethos-u85-1024 holds one size; give one --size$"),
        (("onnx-int8",), {"sizes": ((8, 8), (9, 9))}, "give one --size, or none to leave it free"),
        (("tflite-int8",), {"sizes": ((0, 8),)}, "a size has no pixel"),
        (("tflite-int8",), {"effort": "heroic"}, "no recipe is called 'heroic'; choose from ready, fast"),
    ],
)
def test_what_no_file_could_be_is_refused(targets: tuple[str, ...], fields: dict[str, object], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        stems(targets, **fields)
