from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import footprint
from edgesr.api.footprint import peak_memory
from edgesr.artifact import Manifest
from edgesr.errors import DeviceError

FILE = "spanv2_x2-fp32.tflite"


def logs(folder: Path) -> list[Path]:
    return list(folder.glob("edgesr-memory-*.log"))


def test_the_answer_is_the_last_line(fake_python: Callable[[str], None], tmp_path: Path) -> None:
    fake_python("echo chatter; echo more >&2; echo '{\"peak_bytes\": 12345}'")
    assert peak_memory(Manifest(tmp_path), FILE, "litert-xnnpack", 1, (8, 8)) == 12345
    assert logs(tmp_path) == [], "a log that nobody needs goes"


@pytest.mark.parametrize("script", ["echo why it failed >&2; exit 7", "echo '[]'; exit 7", "echo 5 MB; exit 7"])
def test_a_child_that_fails_or_prints_garbage_leaves_its_log(
    script: str, fake_python: Callable[[str], None], tmp_path: Path
) -> None:
    fake_python(script)
    with pytest.raises(DeviceError, match=r"of spanv2_x2-fp32.tflite failed \(exit code 7\), log in .*; give --no-mem"):
        peak_memory(Manifest(tmp_path), FILE, "litert-xnnpack", 1, (8, 8))
    (log,) = logs(tmp_path)
    assert log.read_text() in ("why it failed\n", "[]\n", "5 MB\n")


def test_a_child_that_hangs_is_ended(
    fake_python: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "TIME_LIMIT_S", 0.2)
    fake_python("exec sleep 60")
    with pytest.raises(DeviceError, match=r"took over 0.2 s, log in .*; give a smaller --size"):
        peak_memory(Manifest(tmp_path), FILE, "litert-xnnpack", 1, (8, 8))


def test_more_pixels_take_more_and_the_interpreter_is_not_counted(exported_once: Any) -> None:
    """A subject's own memory: far below what torch's libraries take, and growing with the image."""
    manifest = exported_once.manifest
    small, large = (peak_memory(manifest, FILE, "litert-xnnpack", 1, size) for size in ((16, 16), (512, 512)))
    largest_tensor = 512 * 512 * 12 * 4  # two rows and columns of three colours for each pixel, float32
    assert small < 60e6 and small + 2 * largest_tensor < large < small + 20 * largest_tensor
