"""Every shipped kernel compiled for GPUs that are not here: no spills, and tensor cores where they are meant."""

import importlib.util
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason='Triton is not installed: pip install "edgesr[cuda]"'
)
CAPABILITIES = (80, 90, 120)


def test_a_spill_and_missing_tensor_cores_are_problems() -> None:
    from edgesr.runtime.cuda.offline_compile import CompiledKernel

    assert CompiledKernel("k", 90, 64, 0, 0, 8, True).problem is None
    assert CompiledKernel("k", 90, 64, 0, 0, 0, False).problem is None
    assert CompiledKernel("k", 90, 255, 8, 0, 8, True).problem == "k for sm_90 spills 8 bytes of registers"
    assert CompiledKernel("k", 90, 64, 0, 0, 0, True).problem == "k for sm_90 uses no tensor cores"


def test_one_kernel_compiles_without_a_gpu() -> None:
    compiled = compiled_for("convolution + gate fp16", 90)
    assert compiled.problem is None and compiled.tensor_core_instructions > 0 and compiled.registers > 0


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_no_shipped_kernel_spills(capability: int) -> None:
    from edgesr.runtime.cuda.offline_compile import compile_for, shipped_kernels

    compiled = [compile_for(kernel, capability) for kernel in shipped_kernels()]
    assert len(compiled) == 36 and not [one.problem for one in compiled if one.problem]


def test_a_tile_that_is_too_large_is_caught() -> None:
    """The head with its first tile: 255 registers were not enough."""
    from dataclasses import replace

    from edgesr.runtime.cuda.offline_compile import compile_for, shipped_kernels
    from edgesr.runtime.cuda.triton_kernel import Launch

    head = next(kernel for kernel in shipped_kernels() if kernel.name == "head fp32")
    large = replace(head, launch=Launch(dict(head.launch.constants) | {"tile_h": 4, "tile_w": 16}, 8))
    assert "spills" in (compile_for(large, 90).problem or compile_for(large, 80).problem or "")


def compiled_for(name: str, capability: int) -> Any:
    from edgesr.runtime.cuda.offline_compile import compile_for, shipped_kernels

    return compile_for(next(kernel for kernel in shipped_kernels() if kernel.name == name), capability)
