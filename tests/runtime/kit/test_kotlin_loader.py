"""The kit's Kotlin loader, compiled and run on a JVM, with LiteRT at the other end of a pipe: no phone, no Android.

What Android adds is stubbed: its Interpreter hands tensors to this process, where LiteRT computes them.
"""

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgesr.runtime.litert_runner import LiteRTRunner
from edgesr.runtime.receptive_field import Reach
from edgesr.runtime.tiled_runner import TiledRunner
from edgesr.runtime.tiling import Segment

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
OWN = ("Stubs.kt", "AndroidStubs.kt", "AssetStubs.kt", "Main.kt")
NAMES = ("fp32", "int8", "uint8", "two-sizes", "fixed", "host-shuffle")


@pytest.fixture(scope="session")
def jvm_program(kit_folder: Path, deployed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs Main.kt."""
    if shutil.which("kotlinc") is None or shutil.which("kotlin") is None:
        pytest.skip("there is no Kotlin compiler; apt-get install kotlin")
    folder = tmp_path_factory.mktemp("jvm")
    entries = ", ".join(f'"{name}" to {name.replace("-", "_").upper()}' for name in deployed)
    (folder / "Models.kt").write_text(f"package edgesr\n\nval MODELS = mapOf({entries})\n")
    sources = [*sorted((kit_folder / "kotlin").glob("*.kt")), *(HERE / name for name in OWN), folder / "Models.kt"]
    command = ["kotlinc", "-Werror", *map(str, sources), "-d", str(folder / "classes")]
    made = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert made.returncode == 0, made.stderr
    return ["kotlin", "-cp", str(folder / "classes"), "edgesr.MainKt"]


Ask = Callable[..., tuple[str, bytes, int]]


@pytest.fixture
def ask(jvm_program: list[str], deployed: dict[str, Any], tmp_path: Path) -> Ask:
    """`ask(name, image, mode, tile)`: what the loader answers, and how often it ran the file."""

    def call(
        name: str, image: np.ndarray, mode: str = "bytes", tile: tuple[int, int] = (0, 0)
    ) -> tuple[str, bytes, int]:
        image.tofile(tmp_path / "image")
        words = [name, tmp_path / "image", *image.shape[:2], *tile, mode]
        command = [*jvm_program, *map(str, words)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        litert, runs = Interpreter(str(deployed[name].path)), 0
        with process:
            while True:
                what, content = receive(process)
                if what in ("result", "refused"):
                    return what, content, runs
                output = compute(litert, *what.split(), content).tobytes()
                process.stdin.write(struct.pack(">i", len(output)) + output)  # type: ignore[union-attr]  # it is a pipe
                process.stdin.flush()  # type: ignore[union-attr]  # it is a pipe
                runs += 1

    return call


def receive(process: "subprocess.Popen[bytes]") -> tuple[str, bytes]:
    assert process.stdout is not None and process.stderr is not None
    head = process.stdout.read(2)
    assert len(head) == 2, process.stderr.read().decode()
    what = process.stdout.read(int.from_bytes(head, "big")).decode()
    return what, process.stdout.read(int.from_bytes(process.stdout.read(4), "big"))


def compute(litert: Interpreter, how: str, key: str, content: bytes) -> np.ndarray:
    """What LiteRT's Interpreter does on Android with these bytes."""
    if how == "signature":
        runner = litert.get_signature_runner(key)
        detail = runner.get_input_details()["image"]
        result: np.ndarray = runner(image=np.frombuffer(content, detail["dtype"]).reshape(detail["shape"]))["output"]
        return result
    (detail,) = litert.get_input_details()
    shape = detail["shape"]
    if key != "-":
        shape = np.array([1, *map(int, key.split("x")), shape[3]], np.int32)
        litert.resize_tensor_input(detail["index"], shape)
    litert.allocate_tensors()
    litert.set_tensor(detail["index"], np.frombuffer(content, detail["dtype"]).reshape(shape))
    litert.invoke()
    output: np.ndarray = litert.get_tensor(litert.get_output_details()[0]["index"])
    return output


@pytest.fixture
def photo(images: list[np.ndarray]) -> Callable[[int, int], np.ndarray]:
    def make(height: int, width: int) -> np.ndarray:
        repeats = (-(-height // images[0].shape[0]), -(-width // images[0].shape[1]), 1)
        return np.ascontiguousarray(np.tile(images[0], repeats)[:height, :width])

    return make


def by_edgesr(file: Any) -> TiledRunner:
    return TiledRunner(LiteRTRunner(file.path, file.contract), file.contract, Reach(*file.model.reach), file.model.tile)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (32, 48), (83, 97)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_bytes_are_the_runners(ask: Ask, deployed: Any, photo: Any, name: str, size: tuple[int, int]) -> None:
    runner, image = by_edgesr(deployed[name]), photo(*size)
    what, content, runs = ask(name, image)
    expected = runner.run_bytes(image[None])
    assert what == "result" and runs == runner.plan(size).count
    assert content == expected.tobytes()


def test_sides_that_are_no_multiple_are_continued(ask: Ask, deployed: Any, photo: Any) -> None:
    image = photo(333, 301)
    what, content, _ = ask("denoiser-int8", image)
    assert what == "result" and content == by_edgesr(deployed["denoiser-int8"]).run_bytes(image[None]).tobytes()


def test_bitmaps_go_through_without_their_transparency(ask: Ask, deployed: Any, photo: Any) -> None:
    image = photo(31, 47)
    what, content, _ = ask("int8", image, "bitmap")
    assert what == "result" and content == by_edgesr(deployed["int8"]).run_bytes(image[None]).tobytes()


@pytest.mark.parametrize("name", ["int8", "fixed", "denoiser"])
def test_plans_are_the_runners(ask: Ask, deployed: Any, name: str) -> None:
    for size in ((1, 1), (40, 57), (305, 290), (1000, 701)):
        what, content, _ = ask(name, np.zeros((*size, 3), np.uint8), "plan")
        plan = by_edgesr(deployed[name]).plan(size)
        assert what == "result"
        tile, exact, rows, columns = content.decode().split(";")
        assert (tile, exact) == (f"{plan.tile[0]}x{plan.tile[1]}", str(plan.exact).lower())
        for text, segments in ((rows, plan.rows), (columns, plan.columns)):
            assert tuple(Segment(*map(int, part.split(","))) for part in text.split()) == segments


def test_refusals_say_why(ask: Ask, photo: Any) -> None:
    for name, image, tile, why in (
        ("int8", photo(83, 97), (9, 9), "is too small for this network; tiles need at least"),
        ("no-tiles", photo(83, 97), (0, 0), None),
        ("int8", np.zeros((0, 5, 3), np.uint8), (0, 0), "cannot be run; give one with pixels in it"),
    ):
        what, content, _ = ask(name, image, tile=tile)
        assert what == ("result" if why is None else "refused") and (why or "") in content.decode("latin1")
