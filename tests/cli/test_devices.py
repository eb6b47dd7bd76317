import json
from typing import Any


def test_the_list_says_what_can_be_used(run: Any, local_adb: Any) -> None:
    local_adb.set(devices=["PHONE2 unauthorized usb:1-1"])
    lines = run("devices", "--adb", local_adb.binary).done().splitlines()
    assert lines[0].split() == ["--device", "gives", "usable", "what", "it", "is,", "or", "what", "it", "lacks"]
    phone = next(line for line in lines if line.startswith("adb:PHONE2"))
    assert " no " in phone and phone.endswith("unlock the phone and tap Allow for this machine")


def test_json(run: Any, local_adb: Any) -> None:
    found = json.loads(run("devices", "--adb", local_adb.binary, "--json").done())["devices"]
    assert [entry["name"] for entry in found] == ["host", "adb:PHONE1", "emulated", "cuda", "ethos-u*"]
    assert found[0]["usable"] and found[0]["problem"] is None


def test_quiet(run: Any, local_adb: Any) -> None:
    assert run("devices", "--adb", local_adb.binary, "--quiet").done() == ""
