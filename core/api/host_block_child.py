"""The process that measures one block of the host benchmark, as `host_block` describes.

Its argument is the export folder, its standard input the plan as JSON. It prints a line for each turn, then the block,
or the error that ended it, as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgesr.api.host_block import BlockPlan, answer_error, measure_block
from edgesr.artifact import load_manifest
from edgesr.errors import EdgeSRError
from edgesr.runtime.json_fields import Fields


def answer(folder: Path, plan: str) -> dict[str, object]:
    """The block of a plan as plain values, or the failure that the parent is to raise."""
    try:
        manifest = load_manifest(folder)
        return measure_block(manifest, BlockPlan.from_json(Fields(json.loads(plan)), manifest), _report).to_json()
    except EdgeSRError as error:
        return answer_error(error)


def _report(stage: str, done: int, total: int) -> None:
    print(stage, done, flush=True)  # the parent knows the total


if __name__ == "__main__":
    print(json.dumps(answer(Path(sys.argv[1]), sys.stdin.read())))
