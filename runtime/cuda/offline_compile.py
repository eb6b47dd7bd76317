"""Every shipped kernel compiled for a GPU generation that is not here: registers, spills and tensor-core instructions.

Triton brings NVIDIA's assembler, so a machine without a GPU can compile for any. Two things that make a kernel slow are
then already visible: registers spilled to local memory (stack or local bytes above 0), and products that do not run on
tensor cores. Speed itself is not: nothing here is a time.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesr.errors import DeviceError
from edgesr.runtime.cuda.convolution_kernels import CONVOLUTION, FIRST, GATE, RELU
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda.gate_kernel import gate_launch
from edgesr.runtime.cuda.head_kernel import HEAD
from edgesr.runtime.cuda.launches import NetworkLaunches
from edgesr.runtime.cuda.triton_kernel import Launch, TritonKernel

CAPABILITIES = (80, 90, 120)
WARP_SIZE = 32
DISASSEMBLY_SECONDS = 120
TENSOR_CORE = re.compile(r"\b(?:HMMA|HGMMA|QGMMA|UTCHMMA|WGMMA)\b")
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)")
RELEASED = {"inputs": 3, "patch": 32, "channels": 32, "near": 48, "near_padded": 64, "scale": 4}
"""The widths of the released SPANV2 x4."""


@dataclass(frozen=True)
class ShippedKernel:
    """One kernel as the fused network or the operator launches it; pointers by the type that they point to."""

    name: str
    kernel: TritonKernel
    launch: Launch
    pointers: Mapping[str, str]
    uses_tensor_cores: bool


@dataclass(frozen=True)
class CompiledKernel:
    """What the assembler made of one shipped kernel for one generation."""

    name: str
    capability: int
    registers: int
    spilled_bytes: int
    shared_bytes: int
    tensor_core_instructions: int
    uses_tensor_cores: bool

    @property
    def problem(self) -> str | None:
        """Why it must not be shipped; None where nothing is wrong."""
        if self.spilled_bytes:
            return f"{self.name} for sm_{self.capability} spills {self.spilled_bytes} bytes of registers"
        if self.uses_tensor_cores and not self.tensor_core_instructions:
            return f"{self.name} for sm_{self.capability} uses no tensor cores"
        return None


def shipped_kernels() -> Iterator[ShippedKernel]:
    """Every kernel configuration: the network's in each precision, and the operator's in each type and layout."""
    for precision in FusedPrecision:
        yield from _network_kernels(precision)
    for dtype, products in (("fp16", "ieee"), ("bf16", "ieee"), ("fp32", "tf32"), ("fp32", "ieee")):
        for nhwc in (True, False):
            for channels in (24, 32, 64):
                name = f"gate {dtype} {products} {'nhwc' if nhwc else 'nchw'} {channels} channels"
                pointers = dict.fromkeys(("x_ptr", "f_ptr", "w_ptr", "o_ptr"), dtype) | {"b_ptr": "fp32"}
                kernel, launch = gate_launch(channels, nhwc, products, dtype == "fp32")
                yield ShippedKernel(name, kernel, launch, pointers, (dtype, products) != ("fp32", "ieee"))


def _network_kernels(precision: FusedPrecision) -> Iterator[ShippedKernel]:
    launches = NetworkLaunches(precision=precision, **RELEASED)
    stored = "fp16" if precision is FusedPrecision.FP16 else "fp32"
    kernels = {
        "first": (FIRST, launches.first[1]),
        "convolution + ReLU": (CONVOLUTION, launches.convolution(RELU)[1]),
        "convolution + gate": (CONVOLUTION, launches.convolution(GATE)[1]),
        "head": (HEAD, launches.head[1]),
    }
    for name, (kernel, launch) in kernels.items():
        pointers = {name: stored for name in _parameters(kernel) if name.endswith("_ptr")}
        wide = {name: "fp32" for name in ("gate_b_ptr", "depth_f_ptr", "depth_near_ptr") if name in pointers}
        yield ShippedKernel(f"{name} {precision.value}", kernel, launch, pointers | wide, precision.uses_tensor_cores)


def _parameters(kernel: TritonKernel) -> Sequence[str]:
    return kernel.source.__code__.co_varnames[: kernel.source.__code__.co_argcount]


def compile_for(shipped: ShippedKernel, capability: int) -> CompiledKernel:
    """Compile one kernel; raises `DeviceError` with the compiler's words where that fails."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {
        name: "constexpr" if name in shipped.launch.constants
        else f"*{shipped.pointers[name]}" if name in shipped.pointers else "i32"
        for name in _parameters(shipped.kernel)
    }  # fmt: skip
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    try:
        source = ASTSource(shipped.kernel.compiled, signature, dict(shipped.launch.constants), aligned)
        binary: Any = triton.compile(
            source, target=GPUTarget("cuda", capability, WARP_SIZE), options=dict(shipped.launch.options)
        )
    except Exception as error:  # the compiler's own tree of errors
        why = " ".join(str(error).split())[:300]
        raise DeviceError(f"{shipped.name} does not compile for sm_{capability}: {why}") from error
    usage, assembly = _disassemble(binary.asm["cubin"])
    found = USAGE.search(usage)
    if found is None:
        raise DeviceError(f"{shipped.name}: cuobjdump names no registers in '{usage[-200:]}'")
    registers, stack, local = map(int, found.groups())
    return CompiledKernel(
        shipped.name, capability, registers, stack + local, int(binary.metadata.shared),
        len(TENSOR_CORE.findall(assembly)), shipped.uses_tensor_cores,
    )  # fmt: skip


def _disassemble(cubin: bytes) -> tuple[str, str]:
    """What `cuobjdump`, which Triton brings, says of a binary's resources, and its instructions."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        usage, assembly = (
            subprocess.run(
                [str(tool), option, str(path)], capture_output=True, text=True, check=True, timeout=DISASSEMBLY_SECONDS
            ).stdout
            for option in ("-res-usage", "-sass")
        )
    return usage, assembly
