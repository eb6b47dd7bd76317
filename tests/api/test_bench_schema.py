"""Real records, and every kind of result, keep to runtime/bench_schema.json.

The walk below knows the part of JSON Schema that the file uses, so that no further package is needed; it is tested by
breaking a record in many places.
"""

import copy
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from edgesr.api import bench
from edgesr.errors import ArtifactError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import SCHEMA_FILE, BenchRecord
from edgesr.runtime.instruction_counts import InstructionCounts
from edgesr.runtime.output_parity import OutputParity

KINDS: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "type", "required", "additionalProperties", "properties",
    "items", "minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "anyOf", "const", "enum", "pattern",
}  # fmt: skip


def violations(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str = "") -> list[str]:
    """Where a value breaks a schema, and how; none where it keeps to it."""
    assert set(schema) <= KNOWN, f"this walk does not know {set(schema) - KNOWN}"
    if "$ref" in schema:
        return violations(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "anyOf" in schema:
        tried = [violations(value, option, root, at) for option in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    if "type" in schema and not is_of(value, schema["type"]):
        return [f"{at}: {value!r} is no {schema['type']}"]
    found = [f"{at}: {value!r} is not {schema['const']!r}"] if value != schema.get("const", value) else []
    found += [f"{at}: {value!r} is none of {schema['enum']}"] if value not in schema.get("enum", [value]) else []
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found += [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
        if schema.get("additionalProperties") is False:
            found += [f"{at}.{name} is not known" for name in value if name not in known]
        for name in known.keys() & value.keys():
            found += violations(value[name], known[name], root, f"{at}.{name}")
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{at} has {len(value)} entries")
        for i, entry in enumerate(value):
            found += violations(entry, schema.get("items", {}), root, f"{at}[{i}]")
    elif isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{at}: {value!r} is not like {schema['pattern']}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        fits = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        if not fits or ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]):
            found.append(f"{at}: {value} is out of range")
    return found


def is_of(value: Any, kinds: str | list[str]) -> bool:
    names = [kinds] if isinstance(kinds, str) else kinds
    return "boolean" in names if isinstance(value, bool) else any(isinstance(value, KINDS[name]) for name in names)


def check(plain: Any) -> list[str]:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return violations(json.loads(json.dumps(plain, allow_nan=False)), schema, schema)


PARITY = OutputParity("eager", 10, 40, False, 0.5, math.inf, "", 51.5)
FULL = Benchmark(
    "a.tflite", "litert", (2.0, 3.0, 2.5), 1, (2, 1), 12.5, 10_000_000, "ab" * 32, PARITY,
    "fully accelerated: cpu", 1.5, "the device went away", 2,
)  # fmt: skip
COUNTS = InstructionCounts("a.tflite", "edgesr_runner", (64_000_000,) * 3, "cd" * 32, PARITY)
PHONE = BenchRecord("adb:1234", (8, 12), 1, 3, 1, "2026-11-25T18:00:00+00:00", {"model": "x"}, (FULL,))
EMULATED = BenchRecord(
    "emulated", (8, 12), 1, 3, 1, "2026-11-25T18:00:00+00:00", {}, (COUNTS,), "cortex-a76 under qemu", warnings=("hot",)
)


@pytest.mark.parametrize("record", [PHONE, EMULATED], ids=["timed", "emulated"])
def test_every_kind_of_result_keeps_to_the_schema(record: BenchRecord) -> None:
    assert check(record.to_json()) == []


def test_a_real_record_keeps_to_the_schema_and_is_read_back(exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.onnx"
    record = bench(path, (8, 8), runs=3, warmups=0, threads=(1, 2), memory=False, blocks=2)
    plain = record.to_json()
    assert check(plain) == [] and len(record.results) == 4
    again = BenchRecord.from_json(json.loads(json.dumps(plain)))
    assert again == record and again.to_json() == plain


def test_the_package_ships_the_schema_and_pyproject_says_so() -> None:
    text = SCHEMA_FILE.parent.parent.joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert SCHEMA_FILE.name.endswith(".json") and '"edgesr.runtime" = ["*.json"]' in text


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda plain: plain.update({name: value})


def put_result(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda plain: plain["results"][0].update({name: value})


BROKEN: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (put("schema", 2), "schema"), (put("size", [8]), "size"), (put("size", [8, 0]), r"size"),
    (put("threads", True), "threads"), (put("started", None), "started"), (put("results", []), "result"),
    (put("emulated", 1), "emulated"), (lambda plain: plain.pop("environment"), "environment"),
    (put("warnings", [1]), "warnings"), (put_result("latencies_ms", [1.0, "x"]), r"results\[0\].latencies_ms\[1\]"),
    (put_result("latencies_ms", [1.0, -2.0]), r"results\[0\].latencies_ms\[1\]"),
    (put_result("name", None), r"results\[0\].name"), (put_result("sha256", 7), r"results\[0\].sha256"),
    (put_result("warmups", 1.5), r"results\[0\].warmups"), (put_result("parity", "no"), r"results\[0\].parity"),
    (put_result("parity", PARITY.to_json() | {"equal": 1}), r"results\[0\].parity.equal"),
    (put_result("block_lengths", [0]), r"results\[0\].block_lengths"),
    (put_result("peak_memory_bytes", -1), r"results\[0\].peak_memory_bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "where"), BROKEN, ids=[words for _, words in BROKEN])
def test_a_broken_record_breaks_the_schema_and_is_refused_by_its_field(
    spoil: Callable[[dict[str, Any]], object], where: str
) -> None:
    plain = copy.deepcopy(json.loads(json.dumps(PHONE.to_json())))
    spoil(plain)
    assert check(plain)
    with pytest.raises(ArtifactError, match=where) as caught:
        BenchRecord.from_json(plain, "a.json")
    message = str(caught.value)
    assert message.startswith("a.json is no record of edgesr bench: ") and "\n" not in message
    assert message.endswith("; run edgesr bench again")
