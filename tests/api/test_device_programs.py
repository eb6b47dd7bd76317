from pathlib import Path

import pytest

from edgesr.android_bench.delegates import find_delegate
from edgesr.android_bench.device_facts import DeviceFacts
from edgesr.android_bench.device_runner import BenchmarkModelRunner
from edgesr.api.device_programs import Program, choose_runner
from edgesr.errors import DeviceError, EdgeSRError, MissingBackendError

ARM = DeviceFacts(abis=("arm64-v8a",))


def test_what_our_runner_cannot_do_is_refused() -> None:
    with pytest.raises(EdgeSRError, match="--delegate gpu needs a benchmark_model built for the device"):
        Program(delegate=find_delegate("gpu"))
    with pytest.raises(EdgeSRError, match="go to a benchmark_model; give it with --runner"):
        Program(options=("--x",))


def test_our_runner_must_have_been_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESR_RUNNERS", str(tmp_path))
    with pytest.raises(MissingBackendError, match=r"no runner for linux-arm64 .*runner\.build linux-arm64"):
        choose_runner(Program(), ARM)


def test_an_abi_without_a_runner_of_ours() -> None:
    with pytest.raises(DeviceError, match=r"the device runs armeabi-v7a; give a program for it with --runner"):
        choose_runner(Program(), DeviceFacts(abis=("armeabi-v7a",)))


def test_a_program_of_the_users_is_checked_for_its_abi(tmp_path: Path) -> None:
    program = tmp_path / "benchmark_model"
    program.write_bytes(b"\x7fELF\x02\x01" + bytes(12) + (62).to_bytes(2, "little"))
    with pytest.raises(DeviceError, match="is a program for x86_64, the device runs arm64-v8a"):
        choose_runner(Program(program), ARM)
    program.write_bytes(b"\x7fELF\x02\x01" + bytes(12) + (183).to_bytes(2, "little"))
    assert isinstance(choose_runner(Program(program), ARM), BenchmarkModelRunner)
