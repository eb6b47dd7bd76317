"""Which operators a file format can hold with 16-bit activations, and why the others not.

A format takes what its runtime has kernels for: a file that no runtime runs could not be proved. NPU compilers take
less still; what they refuse is in `npu_profile`. Read with LiteRT 2.3.0's reference kernels on single-operator models
and with ONNX Runtime 1.31 on 2026-11-21 and -24; the tests of export/ run every other operator.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgesr.ops import Clip, DepthToSpace, HardSwish, Op, Sigmoid, Tanh
from edgesr.target import Format

Refusals = Mapping[type[Op], str]
"""Why an operator cannot have 16-bit activations, by kind; kinds that are not named can."""

_NO_CLIP = "a clip inside a quantized graph has no form"

FORMAT_REFUSALS: Mapping[Format, Refusals] = {
    Format.TFLITE: {
        Clip: _NO_CLIP,
        DepthToSpace: "LiteRT has no int16 kernel of DEPTH_TO_SPACE",
        HardSwish: "LiteRT has no int16 kernel of HARD_SWISH",
        Sigmoid: "TFLite prescribes another grid for the int16 output of LOGISTIC",
        Tanh: "TFLite prescribes another grid for the int16 output of TANH",
    },
    Format.ONNX: {Clip: _NO_CLIP},
}
