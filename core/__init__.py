"""Bring efficient image-restoration networks from PyTorch onto mobile NPUs, with proof.

The commands as functions are in `edgesr.api`: `edgesr.api.export`, `verify_parity`, `verify_quality`, `bench`.
"""


def __getattr__(name: str) -> str:
    """`__version__`, read when it is asked for: reading a distribution's metadata takes a tenth of `edgesr --help`."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("edgesr")
