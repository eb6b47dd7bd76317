"""The float ONNX graph that ONNX's quantizers begin with: torch.onnx (the torch.export route), then onnxsim.

Input `image` (1, C, H, W), output `output` (1, C, sH, sW), both float32, H and W free or of one size.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxsim
import torch

from edgesr.architecture import SRModel
from edgesr.artifact import INPUT_NAME, OUTPUT_NAME
from edgesr.errors import ExportError

SAMPLE = (32, 48)
"""Any two sizes that differ: sides that are equal would be taken for one."""


def export_float_onnx(model: SRModel, folder: Path, size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """The model as PyTorch's own exporter writes it, simplified; `size` (H, W) None leaves it free.

    Raises `ExportError` where onnxsim refuses.
    """
    multiple = model.size_multiple
    height, width = size or (-(-side // multiple) * multiple for side in SAMPLE)
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        model.module,
        (torch.zeros(1, model.in_channels, height, width),),
        dynamo=True,
        verbose=False,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({2: free, 3: free},) if size is None else None,
    )
    assert program is not None, "torch.onnx returns a program where dynamo=True"
    path = folder / "exported.onnx"
    program.save(path)
    simplified, same = onnxsim.simplify(onnx.load(path))
    if not same:
        raise ExportError(f"onnxsim changed what {model.name} computes; report it to onnxsim")
    result: onnx.ModelProto = simplified
    return result
