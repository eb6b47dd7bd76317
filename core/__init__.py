"""Bring efficient image-restoration networks from PyTorch onto mobile NPUs, with proof.

The commands as functions are in `edgesr.api`: `edgesr.api.export`, `verify_parity`, `verify_quality`, `bench`.
"""

from importlib.metadata import version

__version__ = version("edgesr")
