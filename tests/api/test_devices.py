"""What can be benchmarked on, and why the rest cannot, on the stand-in for adb."""

from pathlib import Path
from typing import Any

import pytest

from edgesr.api import devices
from edgesr.api.devices import BenchDevice, list_devices
from edgesr.runtime.cuda.backend import BackendState


def named(found: tuple[BenchDevice, ...]) -> dict[str, BenchDevice]:
    return {device.name: device for device in found}


def test_the_host_is_always_there(local_adb: Any) -> None:
    host = named(list_devices(local_adb.binary))["host"]
    assert host.usable and "cores" in host.description and host.gives == "milliseconds"


def test_every_phone_is_listed_with_its_state(local_adb: Any) -> None:
    local_adb.set(devices=["PHONE1 device model:X", "PHONE2 unauthorized usb:1-1", "PHONE3 offline"])
    found = named(list_devices(local_adb.binary))
    assert found["adb:PHONE1"].usable and "unknown device" in found["adb:PHONE1"].description
    assert found["adb:PHONE2"].problem == "unauthorized; unlock the phone and tap Allow for this machine"
    assert found["adb:PHONE3"].problem is not None and "reconnect" in found["adb:PHONE3"].problem


def test_a_phone_that_does_not_answer_says_why(local_adb: Any) -> None:
    local_adb.fail("features", "error: closed", 1)
    local_adb.fail("shell", "error: device 'PHONE1' not found", 1)
    phone = named(list_devices(local_adb.binary))["adb:PHONE1"]
    assert not phone.usable and phone.problem is not None and "reconnect" in phone.problem


def test_without_a_phone_or_adb_one_line_says_so(local_adb: Any, tmp_path: Path) -> None:
    local_adb.set(devices=[])
    assert named(list_devices(local_adb.binary))["adb"].problem == "none is attached; connect one with USB debugging on"
    problem = named(list_devices(tmp_path / "none"))["adb"].problem
    assert problem is not None and "--adb" in problem


def test_what_is_not_installed_names_its_line(local_adb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "missing", lambda: ["proot", "qemu-aarch64"])
    found = named(list_devices(local_adb.binary))
    assert found["emulated"].problem == f"proot, qemu-aarch64 missing; {devices.INSTALL_LINE}"
    assert found["emulated"].gives == "instructions, emulated"
    states = tuple(BackendState(name, None, f"no {name}", "get it") for name in ("GPU", "Triton"))
    monkeypatch.setattr(devices, "backend_states", lambda: states)
    assert devices._cuda().problem == "no GPU; get it"
    runs = BackendState("torch-cuda", "H200, sm_90", "", "")
    monkeypatch.setattr(devices, "backend_states", lambda: (runs, BackendState("cuda-fused", None, "no Triton", "")))
    assert (devices._cuda().description, devices._cuda().problem) == ("H200, sm_90", "no Triton")
    monkeypatch.setattr(devices, "backend_states", lambda: (runs, runs))
    assert devices._cuda().usable
    assert devices._ethos_u(lambda name: None).problem == 'Vela is not installed; pip install "edgesr[ethos-u]"'
    assert devices._ethos_u(lambda name: name).usable
