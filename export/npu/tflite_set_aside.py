"""A TFLite file with some operators set aside: made custom, which a compiler leaves to the CPU without a look.

Nothing runs such a file. It is asked what becomes of the others: that tells over which operator a compiler fails, where
its own options only keep a whole kind from the NPU.
"""

from __future__ import annotations

from collections.abc import Collection

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edgesr.export.tflite_builder import FILE_IDENTIFIER

CUSTOM_NAME = b"set-aside"


def set_aside(content: bytes, operators: Collection[tuple[int, int]]) -> bytes:
    """The file with the operators at these places (subgraph, index) made custom; tensors and names stay."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = CUSTOM_NAME, 1
    model.operatorCodes.append(code)
    for subgraph, index in operators:
        operator = model.subgraphs[subgraph].operators[index]
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptions, operator.builtinOptionsType = None, schema.BuiltinOptions.NONE
        operator.builtinOptions2, operator.builtinOptions2Type = None, schema.BuiltinOptions2.NONE
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())
