"""How each kernel of the fused network is launched: tile, warps and constants, for each precision.

The choices are those that compile without spilling registers for sm_80, sm_90 and sm_120 (`offline_compile`). None was
timed: no GPU was at hand. `make bench-cuda` says what they are worth.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda.triton_kernel import Launch


@dataclass(frozen=True)
class Tile:
    """Positions of one program, height by width, and the warps that share them."""

    height: int
    width: int
    warps: int

    def grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Programs for a batch of images (N, H, W)."""
        count, height, width = size
        return -(-width // self.width), -(-height // self.height), count

    def launch(self, constants: dict[str, object]) -> Launch:
        """A launch of this tile with a kernel's own constants."""
        return Launch(constants | {"tile_h": self.height, "tile_w": self.width}, self.warps)


CONVOLUTION_TILES = {
    FusedPrecision.FP16: Tile(8, 16, 4),
    FusedPrecision.TF32: Tile(8, 16, 8),
    FusedPrecision.FP32: Tile(4, 16, 8),
}
FIRST_TILES = {
    FusedPrecision.FP16: Tile(8, 16, 4),
    FusedPrecision.TF32: Tile(8, 16, 8),
    FusedPrecision.FP32: Tile(4, 16, 8),
}
HEAD_TILES = {
    FusedPrecision.FP16: Tile(4, 16, 4),
    FusedPrecision.TF32: Tile(4, 16, 8),
    FusedPrecision.FP32: Tile(2, 8, 8),
}


@dataclass(frozen=True)
class NetworkLaunches:
    """The launches of one network in one precision; widths are the padded ones, `near` alone is not."""

    precision: FusedPrecision
    inputs: int
    patch: int
    channels: int
    near: int
    near_padded: int
    scale: int

    @property
    def first(self) -> tuple[Tile, Launch]:
        """The image's own convolutions."""
        tile = FIRST_TILES[self.precision]
        return tile, tile.launch({
            "inputs": self.inputs, "patch": self.patch, "channels": self.channels, "near": self.near,
            "near_padded": self.near_padded, "precision": self.precision.products,
        })  # fmt: skip

    def convolution(self, epilogue: int) -> tuple[Tile, Launch]:
        """A convolution of features with an epilogue of `convolution_kernels`."""
        tile = CONVOLUTION_TILES[self.precision]
        constants = {"channels": self.channels, "epilogue": epilogue, "precision": self.precision.products}
        return tile, tile.launch(dict(constants))

    @property
    def head(self) -> tuple[Tile, Launch]:
        """The head."""
        tile = HEAD_TILES[self.precision]
        return tile, tile.launch({
            "channels": self.channels, "near": self.near, "near_padded": self.near_padded, "scale": self.scale,
            "precision": self.precision.products,
        })  # fmt: skip
