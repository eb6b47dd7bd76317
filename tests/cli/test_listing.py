import json
from collections.abc import Callable
from typing import Any

import pytest

from edgesr.model.registry import ARCHITECTURES, BUNDLED_MODELS
from edgesr.npu_profile import NPU_PROFILES
from edgesr.runtime.runners import FILE_RUNNERS
from edgesr.target import ALL_TARGETS

Run = Callable[..., Any]


def test_targets_with_their_options_defaults_first(run: Run) -> None:
    lines = run("targets").done().splitlines()
    assert len(lines) == 2 + len(ALL_TARGETS) + 1 + 2 + len(NPU_PROFILES)
    for line, target in zip(lines[2 : 2 + len(ALL_TARGETS)], ALL_TARGETS, strict=True):
        assert line.startswith(f"{target.name} ") and line.endswith(target.summary)
        assert ", ".join(io.value for io in target.io) in line and ", ".join(target.runners) in line
    for line, npu in zip(lines[-len(NPU_PROFILES) :], NPU_PROFILES, strict=True):
        assert line.startswith(f"{npu.name} ") and npu.tail.value in line and line.endswith(npu.summary)


def test_targets_as_json(run: Run) -> None:
    answer = json.loads(run("targets", "--json").done())
    plain = answer["targets"]
    assert [npu["name"] for npu in answer["npus"]] == [npu.name for npu in NPU_PROFILES]
    assert [target["name"] for target in plain] == [target.name for target in ALL_TARGETS]
    assert plain[2]["io"] == ["int8", "uint8", "float32"] and plain[2]["layouts"] == ["nhwc"]
    kinds = ("runners", "emulators", "witnesses")
    assert {runner for target in plain for kind in kinds for runner in target[kind]} == set(FILE_RUNNERS)


def test_models_and_architectures(run: Run) -> None:
    output = run("models").done()
    assert all(model.name in output and model.summary in output for model in BUNDLED_MODELS)
    assert all(entry.name in output and entry.summary in output for entry in ARCHITECTURES)
    plain = json.loads(run("models", "--json").done())
    assert [model["name"] for model in plain["models"]] == [model.name for model in BUNDLED_MODELS]
    assert [entry["name"] for entry in plain["architectures"]] == [entry.name for entry in ARCHITECTURES]


@pytest.mark.parametrize("command", ["targets", "models", "doctor"])
def test_quiet_prints_nothing(run: Run, command: str) -> None:
    assert run(command, "-q").done() == ""
