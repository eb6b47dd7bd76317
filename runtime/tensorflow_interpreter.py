"""TensorFlow's own TFLite interpreter, a witness beside LiteRT: another build of the runtime, with its own kernels.

It runs without a delegate, in the optimized kernels that TensorFlow had before XNNPACK: neither of those that LiteRT is
run with here. TensorFlow warns that its interpreter has moved to LiteRT; that is why it is another build.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from edgesr.errors import MissingBackendError

INSTALL = 'pip install "edgesr[tensorflow]"'


def tensorflow_interpreter(content: bytes, threads: int) -> Any:
    """The interpreter on a TFLite file's bytes, with the interface of LiteRT's.

    Raises `MissingBackendError` without TensorFlow, and ValueError or RuntimeError for a file that it does not load.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import tensorflow
        except ImportError as error:
            raise MissingBackendError(f"tensorflow is not installed; run {INSTALL}") from error
        lite = tensorflow.lite
        return lite.Interpreter(
            model_content=content,
            num_threads=threads,
            experimental_op_resolver_type=lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
