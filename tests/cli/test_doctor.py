import importlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

Run = Callable[..., Any]
doctor = importlib.import_module("edgesr.cli.doctor")
"""The module: `edgesr.cli.doctor` as an attribute is the command."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The distributions that doctor finds, all that edgesr needs to begin with."""
    found = dict.fromkeys(doctor.REQUIRED, "1.0")
    monkeypatch.setattr(doctor, "installed_version", found.get)
    return found


def test_missing_extras_come_with_the_line_that_installs_them(run: Run, installed: dict[str, str]) -> None:
    installed["tensorflow"] = "2.20.0"
    lines = {line.split()[0]: line for line in run("doctor").done().splitlines() if line}
    assert (
        'pip install "edgesr[qnn]"' in lines["onnxruntime-qnn"]
        and "not installed (optional)" in lines["onnxruntime-qnn"]
    )
    assert "2.20.0" in lines["tensorflow"] and "pip install" not in lines["tensorflow"]
    assert lines["torch"].split() == ["torch", "1.0"]
    assert lines["Python"].endswith(" cores")


def test_a_missing_requirement_fails(run: Run, installed: dict[str, str]) -> None:
    del installed["onnx"]
    outcome = run("doctor")
    assert outcome.code == 1 and outcome.err == "edgesr: missing: onnx; run pip install edgesr again\n"
    assert "pip install edgesr" in next(line for line in outcome.out.splitlines() if line.startswith("onnx "))
    plain = run("doctor", "--json")
    assert plain.code == 1 and json.loads(plain.out)["missing"] == ["onnx"]


def test_json_lists_the_machine_and_every_package(run: Run, installed: dict[str, str]) -> None:
    plain = json.loads(run("doctor", "--json").done())
    assert set(plain) == {"machine", "findings", "missing"} and plain["missing"] == []
    assert set(plain["machine"]) == {"python", "system", "cores"}
    extras = [extra.distribution for extra in doctor.EXTRAS]
    backends = ["torch-cuda", "cuda-fused"]
    assert [finding["item"] for finding in plain["findings"]] == [*doctor.REQUIRED, *extras, *backends]
    for finding in plain["findings"][-2:]:
        assert not finding["found"].startswith("no") or (finding["remedy"] and ": " in finding["found"]), "says why"


def test_installed_versions_are_those_of_the_environment() -> None:
    assert doctor.installed_version("click") and doctor.installed_version("no-such-distribution") is None


def test_what_is_required_and_optional_is_what_the_package_says() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {Requirement(line).name for line in project["dependencies"]} == set(doctor.REQUIRED)
    extras = {
        name: {Requirement(line).name for line in lines} for name, lines in project["optional-dependencies"].items()
    }
    assert {extra.extra for extra in doctor.EXTRAS} == set(extras) - {"dev"}
    assert all(extra.distribution in extras[extra.extra] for extra in doctor.EXTRAS)
