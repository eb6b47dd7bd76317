"""What ONNX Runtime's QNN provider says in its log: which operators it refuses, why, and what to do about it.

The provider asks twice: before and after ONNX Runtime moves transposes about. Only the last answer counts, and the
nodes then carry names with `_token_<n>` behind their own. The forms below are those of onnxruntime-qnn 2.7 at its
most talkative (severity 0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BLOCK = re.compile(r"Validation FAILED for \d+ nodes in OrtNodeUnit \((?P<unit>[^)]*)\) :\n(?P<body>(?:\t.*\n?)+)")
_NODE = re.compile(r"Operator type: (?P<kind>\S+) Node name: (?P<name>.*?) Node index: \d+")
_REASON = re.compile(r"REASON : (?P<reason>.*)")
_VALIDATOR = re.compile(r"failed for node `(?P<name>[^`]*)` of type `[^`]*` with error code (?P<code>\d+)")
_UNSUPPORTED = re.compile(r"Unsupported nodes in QNN EP: (?P<nodes>\{.*\})")
_UNSUPPORTED_NODE = re.compile(r"\{ name: (?P<name>.*?), type: (?P<kind>[^ }]*) \}")
_TOKEN = re.compile(r"_token_\d+$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SETUP = re.compile(r"QNN SetupBackend failed (?P<why>.*)")
_SPOKEN = re.compile(r"Qnn_OpConfig node name: (\S+) package_name: \S+ QNN_op_type: (\S+)")
_FINALIZE = re.compile(r"((?:Failed to finalize|QNN graphFinalize|Failed to create context|Failed to compose).*)")

NO_REASON = "QNN gives no reason"

CURES: tuple[tuple[str, str], ...] = (
    ("size is free", "export with a fixed size (--size HxW)"),
    ("SetupBackend", "choose another SoC with --npu, or reinstall: pip install --force-reinstall onnxruntime-qnn"),
    ("not supported by QNN EP", "replace it with operators that the HTP runs, such as convolutions, ReLU and products"),
    ("validator refuses", "the HTP has no kernel for its types or shape: try another precision or a smaller size"),
    ("finalize", "the graph is too large for the NPU's memory: export a smaller --size and tile the image"),
)
"""What a reason holds, and what to do then; the first that fits."""
OTHER_CURE = "see the log, and try another precision or size"


@dataclass(frozen=True)
class Refusal:
    """An operator that QNN does not take: its node's name, its kind and why."""

    name: str
    kind: str
    reason: str

    @property
    def remedy(self) -> str:
        """What would bring it onto the NPU."""
        return cure_of(self.reason)

    def describe(self) -> str:
        """The operator and the reason as a phrase."""
        return f"{self.kind} '{self.name}': {self.reason}"


def own_name(node: str) -> str:
    """A node's name without what ONNX Runtime's layout transformation appends."""
    return _TOKEN.sub("", node)


def cure_of(reason: str) -> str:
    """What to do about a reason."""
    return next((cure for mark, cure in CURES if mark.lower() in reason.lower()), OTHER_CURE)


def refused(log: str) -> dict[str, Refusal]:
    """The operators that were refused at least once, by their own names, with the reason of the last time."""
    log = _COLOUR.sub("", log)
    codes = {own_name(m["name"]): m["code"] for m in _VALIDATOR.finditer(log)}
    found: dict[str, Refusal] = {}
    for block in _BLOCK.finditer(log):
        said = _REASON.search(block["body"])
        for node in _NODE.finditer(block["body"]):
            name = own_name(node["name"])
            found[name] = Refusal(name, node["kind"], _tidy(said["reason"] if said else "", name, codes))
    return found


def _tidy(reason: str, name: str, codes: dict[str, str]) -> str:
    """QNN's words without what it repeats of the node's name, and with the validator's code where it has no words."""
    words = re.split(rf"\.?\s*\w+ node `{re.escape(name)}(?:_token_\d+)?` will not be assigned", reason)[0].strip(" .")
    if words == "Cannot get shape":
        return "its size is free, the HTP needs a fixed one"
    if words and words != "Failed to add node":
        return words.replace("`", "")
    return f"the HTP's validator refuses it (code {codes[name]})" if name in codes else words or NO_REASON


def left_over(log: str) -> list[Refusal]:
    """The operators that QNN had not taken when it answered for the last time.

    Sessions that allow no fallback list them; of others the log alone knows those that were ever refused.
    """
    ever = refused(log)
    lists = list(_UNSUPPORTED.finditer(_COLOUR.sub("", log)))
    if not lists:
        return list(ever.values())
    left: dict[str, Refusal] = {}
    for node in _UNSUPPORTED_NODE.finditer(lists[-1]["nodes"]):
        name = own_name(node["name"])
        left[name] = ever.get(name, Refusal(name, node["kind"], NO_REASON))
    return list(left.values())


def explain(log: str) -> tuple[str, str] | None:
    """Why QNN could not take a graph, naming the operator, and the cure; None where the log does not say."""
    clean = _COLOUR.sub("", log)
    setup = _SETUP.search(clean)
    if setup:
        return f"QNN SetupBackend failed: {setup['why'].strip()}", cure_of("SetupBackend")
    left = left_over(log)
    if left:
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        return f"QNN does not take {left[0].describe()}{more}", left[0].remedy
    final = _FINALIZE.search(clean)
    return (final[1].strip(), cure_of(final[1])) if final else None


def last_operator(log: str) -> str:
    """The operator that QNN spoke of last, which one may suspect when it died; empty where it spoke of none."""
    spoken = _SPOKEN.findall(_COLOUR.sub("", log))
    return f"{spoken[-1][1]} '{own_name(spoken[-1][0])}'" if spoken else ""
