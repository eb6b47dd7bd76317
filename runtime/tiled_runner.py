"""A file on images of any size, tile by tile, with the bits of the whole image (`tiling`).

Memory is bounded by one row of tiles: `strips` gives the output's rows from the top as soon as a row of tiles is done,
and the image that goes in is converted tile by tile. An image is (1, H, W, C), float in [0, value_range] or uint8, in
which 255 stands for value_range; files with an integer image take its bytes as they are and give theirs so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.graph import Graph
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.output_parity import OutputParity, compare_outputs
from edgesr.runtime.receptive_field import NoReach, Reach, find_reach
from edgesr.runtime.runners import FileRunner
from edgesr.runtime.tile_choice import bytes_per_pixel, choose_plan
from edgesr.runtime.tiling import Segment, Size, TilePlan
from edgesr.target import Precision

STAGE = "tiles"
"""What progress calls the work."""


class TiledRunner:
    """A runner of a file that runs any image that the file or its tiles can; `tile` as `choose_plan` takes it."""

    def __init__(
        self,
        runner: FileRunner,
        contract: IOContract,
        reach: Reach | NoReach,
        tile: Size | None = None,
        pixel_bytes: float = 0,
    ) -> None:
        self.name = runner.name
        self.reach = reach
        self._runner = runner
        self._contract = contract
        self._tile = tile
        self._pixel_bytes = pixel_bytes

    @property
    def emulated(self) -> str | None:
        """What is emulated, in words."""
        return self._runner.emulated

    def plan(self, size: Size) -> TilePlan:
        """The tiles for an image of `size` (H, W); raises `ArtifactError` where it cannot be run."""
        return choose_plan(size, self._contract, self.reach, self._tile, self._pixel_bytes)

    def run(self, image: np.ndarray, progress: Progress = silent) -> np.ndarray:
        """The float32 output (1, sH, sW, C) in [0, value_range], whole in memory."""
        return np.concatenate(list(self.strips(image, progress)), axis=1)

    def run_bytes(self, image: np.ndarray, progress: Progress = silent) -> np.ndarray:
        """The output as uint8, 255 for value_range."""
        return np.concatenate(list(self.byte_strips(image, progress)), axis=1)

    def strips(self, image: np.ndarray, progress: Progress = silent) -> Iterator[np.ndarray]:
        """The output's rows from the top, (1, rows, sW, C) float32 in [0, value_range], a row of tiles at a time.

        Raises `ArtifactError` at once where the image cannot be run.
        """
        return self._strips(image, self._planned(image), progress, as_bytes=False)

    def byte_strips(self, image: np.ndarray, progress: Progress = silent) -> Iterator[np.ndarray]:
        """The same as uint8, 255 for value_range: an integer file's own bytes, a float file's values rounded."""
        return self._strips(image, self._planned(image), progress, as_bytes=True)

    def _planned(self, image: np.ndarray) -> TilePlan:
        if image.ndim != 4 or image.shape[0] != 1 or image.shape[3] != self._contract.channels:
            raise ArtifactError(
                f"an image of shape {image.shape} is not (1, H, W, {self._contract.channels}), which this file takes"
            )
        return self.plan((image.shape[1], image.shape[2]))

    def _strips(self, image: np.ndarray, plan: TilePlan, progress: Progress, as_bytes: bool) -> Iterator[np.ndarray]:
        scale, done = self._contract.upscale, 0
        progress(STAGE, done, plan.count)
        for row in plan.rows:
            shape = (1, row.kept * scale, plan.size[1] * scale, self._contract.channels)
            strip = np.empty(shape, np.uint8 if as_bytes else np.float32)
            for column in plan.columns:
                output = self._compute(_cut(image, row, column, plan.tile), as_bytes)
                strip[:, :, _grown(column, scale)] = output[:, _kept(row, scale), _kept(column, scale)]
                done += 1
                progress(STAGE, done, plan.count)
            yield strip

    def _compute(self, tile: np.ndarray, as_bytes: bool) -> np.ndarray:
        """The output of one tile, of its whole size."""
        tensor = self._runner.compute_tensor(tile)
        if tensor.dtype.kind == "f" and np.isnan(tensor.min()):
            raise ArtifactError(
                f"{self.name} computes values that are not numbers (NaN) from this image, so there is no picture; "
                "edgesr verify parity --images FOLDER, with the image in FOLDER, shows the operator they come from"
            )
        return self._contract.decode_bytes(tensor) if as_bytes else self._contract.decode(tensor)


def tile_runner(
    runner: FileRunner,
    contract: IOContract,
    network: Graph | QuantizedGraph | None,
    precision: Precision,
    tile: Size | None = None,
) -> TiledRunner:
    """The tiled form of a file's runner, for the graph that the file was made from (None: by the general route)."""
    if network is None:
        return TiledRunner(runner, contract, find_reach(None), tile)
    return TiledRunner(runner, contract, find_reach(network), tile, bytes_per_pixel(network, precision))


def check_seams(tiled: TiledRunner, whole: FileRunner, image: np.ndarray) -> OutputParity:
    """Compare the tiled output with that of a runner that takes the image whole: where they are equal, no seam is left.

    Both are float32 in [0, value_range], with -0.0 as 0.0.
    """
    found, wanted = tiled.run(image), whole.run(image)
    return compare_outputs(found + np.float32(0), wanted + np.float32(0), "the whole image")


def _cut(image: np.ndarray, row: Segment, column: Segment, tile: Size) -> np.ndarray:
    """The pixels of a tile, continued by the image's last row and column where it reaches beyond them."""
    piece = image[:, row.start : row.start + tile[0], column.start : column.start + tile[1]]
    below, right = tile[0] - piece.shape[1], tile[1] - piece.shape[2]
    return np.pad(piece, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge") if below or right else piece


def _kept(segment: Segment, scale: int) -> slice:
    """Where what is taken lies in the tile's output."""
    return slice((segment.keep_start - segment.start) * scale, (segment.keep_stop - segment.start) * scale)


def _grown(segment: Segment, scale: int) -> slice:
    """Where it lies in the whole output."""
    return slice(segment.keep_start * scale, segment.keep_stop * scale)
