"""What can compute on a phone, and how benchmark_model is told to use it: one literal table."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from edgesr.errors import EdgeSRError


@dataclass(frozen=True)
class Delegate:
    """A delegate by the name of `--delegate`: benchmark_model's flags, and the libraries that must lie beside it.

    In `flags`, {library} is the folder that the libraries are sent to. `cpu` marks what needs no accelerator,
    `loads_compiled` what runs files that LiteRT compiled for one SoC.
    """

    name: str
    summary: str
    flags: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    cpu: bool = False
    loads_compiled: bool = False


XNNPACK = Delegate("xnnpack", "the CPU, by XNNPACK", ("--use_xnnpack=true",), cpu=True)
DELEGATES: tuple[Delegate, ...] = (
    XNNPACK,
    Delegate("gpu", "the GPU, by OpenCL or OpenGL", ("--use_gpu=true",)),
    Delegate("nnapi", "Android's NNAPI (deprecated since Android 15)", ("--use_nnapi=true",)),
    Delegate(
        "qnn", "Qualcomm's HTP, by the QNN delegate of the AI Engine Direct SDK",
        ("--external_delegate_path={library}/libQnnTFLiteDelegate.so",
         "--external_delegate_options=backend_type:htp;library_path:{library}/libQnnHtp.so;"
         "skel_library_dir:{library}"),
        ("libQnnTFLiteDelegate.so", "libQnnHtp.so"),
    ),
    Delegate(
        "neuron", "MediaTek's APU, by the Neuron delegate of NeuroPilot",
        ("--external_delegate_path={library}/libtensorflowlite_neuron_delegate.so",),
        ("libtensorflowlite_neuron_delegate.so",),
    ),
    Delegate("litert-npu", "the NPU, by LiteRT's own benchmark_model and its dispatch library",
             ("--use_npu=true", "--use_cpu=false", "--require_full_delegation=true",
            "--dispatch_library_path={library}",
              "--compiler_plugin_library_path={library}"), loads_compiled=True),
    Delegate("litert-gpu", "the GPU, by LiteRT's own benchmark_model",
             ("--use_gpu=true", "--use_cpu=false", "--require_full_delegation=true")),
)  # fmt: skip
DELEGATE_NAMES = tuple(delegate.name for delegate in DELEGATES)


def find_delegate(name: str) -> Delegate:
    """The delegate of that name; raises `EdgeSRError` naming those most like it."""
    found = next((delegate for delegate in DELEGATES if delegate.name == name.lower()), None)
    if found is None:
        near = difflib.get_close_matches(name.lower(), DELEGATE_NAMES, n=3, cutoff=0.5) or DELEGATE_NAMES
        raise EdgeSRError(f"no delegate is called '{name}'; choose {' or '.join(near)}")
    return found
