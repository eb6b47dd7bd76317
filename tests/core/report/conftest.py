"""Reports of every kind, and headless Chromium to look at them, driven by its DevTools protocol over two pipes.

Commands go to the browser's file descriptor 3 and come back on 4, each a JSON text that ends in a zero byte.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import ExportRequest, audit, export, report, verify_quality
from edgesr.api.reporting import report_audit, report_bench, report_parity, report_quality
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord
from edgesr.target import find_target

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_S = 60.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)  # fmt: skip
FIRST_FREE = 10
"""Our ends of the pipes lie above 3 and 4, which the browser's ends become."""
KEYS = {"Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "ArrowUp": 38, "ArrowDown": 40, "Enter": 13, " ": 32}


def find_chromium() -> str | None:
    """The browser's path, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser process; `close` ends it."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="edgesr-chromium-")
        theirs_in, self._to = (_high(end) for end in os.pipe())
        self._from, theirs_out = (_high(end) for end in os.pipe())
        quiet = os.open(os.devnull, os.O_RDWR)
        moves = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4)]
        moves += [(os.POSIX_SPAWN_DUP2, quiet, number) for number in (0, 1, 2)]
        line = [program, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = os.posix_spawn(program, line, os.environ, file_actions=moves, setsid=True)
        for end in (theirs_in, theirs_out, quiet):
            os.close(end)
        self._number = 0
        self._unread = b""
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        """End the browser and remove its profile."""
        os.close(self._to)
        os.close(self._from)
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        shutil.rmtree(self._profile, ignore_errors=True)

    def command(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """The result of a command; what happens meanwhile is kept in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def receive(self) -> dict[str, Any]:
        """The next message; fails after a minute without one."""
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._from, 1 << 20) if ready else b""
            assert data, "Chromium says nothing"
            self._unread += data
        text, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def open(self, path: Path, width: int, height: int = 900, scheme: str = "light", script: bool = True) -> Tab:
        """A page from a file, at a size and in a colour scheme, loaded."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target, path.resolve().as_uri())
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.command(f"{domain}.enable")
        tab.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        tab.command("Emulation.setEmulatedMedia", features=features)
        tab.command("Emulation.setScriptExecutionDisabled", value=not script)
        self.events.clear()
        tab.command("Page.navigate", url=tab.url)
        while not any(tab.is_own(event, "Page.loadEventFired") for event in self.events):
            self.events.append(self.receive())
        return tab


@dataclass
class Tab:
    """One loaded page."""

    browser: Chromium
    session: str
    target: str
    url: str
    seen: list[dict[str, Any]] = field(default_factory=list)

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """A command to this page."""
        return self.browser.command(method, self.session, **parameters)

    def is_own(self, event: dict[str, Any], method: str) -> bool:
        """Whether something happened on this page."""
        return event.get("method") == method and event.get("sessionId") == self.session

    def _of(self, *methods: str) -> list[dict[str, Any]]:
        self.evaluate("1")  # whatever was said before this answer has arrived then
        return [e["params"] for e in self.browser.events if any(self.is_own(e, method) for method in methods)]

    def complaints(self) -> list[object]:
        """What went to the console, failed, or was forbidden by the page's policy."""
        return [*self._of("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")]

    def requests(self) -> list[str]:
        """The addresses that the page asked for, itself and what lies within it left out."""
        asked = [event["request"]["url"] for event in self._of("Network.requestWillBeSent")]
        return [url for url in asked if url != self.url and not url.startswith("data:")]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        code = KEYS[key]
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.command("Input.dispatchKeyEvent", type="keyDown", **named)
        self.command("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """What is seen, or the whole page, as a PNG file."""
        data = self.command("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Close the page."""
        self.browser.command("Target.closeTarget", targetId=self.target)


def _high(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    os.close(descriptor)
    return moved


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """Headless Chromium; `make browser-deps` installs it."""
    program = find_chromium()
    if program is None:
        pytest.skip(f"no {NAMES[0]} on this machine; run make browser-deps")
    started = Chromium(program)
    yield started
    started.close()


def bench_record(digests: dict[str, str]) -> BenchRecord:
    """A record with a sample beyond its plot, blocks, and a warning; `digests` are the files' sha256 by name."""
    steady = [10.0 + 0.1 * (index % 7) for index in range(48)]
    results = [Benchmark("PyTorch eager spanv2_x2", "torch-float32", tuple(2 * ms for ms in steady), 5, (12,) * 4)]
    for number, (file, digest) in enumerate(digests.items()):
        samples = (*(ms + number for ms in steady[:-1]), 30.0)
        results.append(Benchmark(file, "litert-xnnpack", samples, 5, (12,) * 4, 4.2, 9_000_000, digest))
    return BenchRecord(
        "host", (64, 64), 1, 48, 5, "2026-11-27T01:00:00+00:00", {"processor": "Test", "packages": {"torch": "2.9"}},
        tuple(results), baselines=(0,) * len(results), warnings=("others used the machine",),
    )  # fmt: skip


@dataclass(frozen=True)
class Reports:
    """A folder with a report of each kind, and the plain values that they were made of."""

    folder: Path
    export: Path
    parity: dict[str, Any]
    quality: dict[str, Any]
    audit: dict[str, Any]
    bench: dict[str, Any]

    @property
    def pages(self) -> dict[str, Path]:
        """Every report by its kind."""
        names = ("parity", "quality", "audit", "bench", "joined")
        return {"export": self.export / "report.html", **{name: self.folder / f"{name}.html" for name in names}}


@pytest.fixture(scope="session")
def reports(small_checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """Every kind of report, of a small network's INT8 and FP32 files."""
    folder = tmp_path_factory.mktemp("reports")
    out = folder / "small & <quick>"
    targets = [target for name in ("tflite-int8", "tflite-fp32") if (target := find_target(name)) is not None]
    result = export(ExportRequest(targets=tuple(targets), out=out, weights=small_checkpoint, calibration=photos))
    parity = result.parity[result.artifacts[0].file].joined(result.parity[result.artifacts[1].file])
    report_parity(parity, out, folder / "parity.html")
    lr, hr = halved(photos, folder)
    measured = verify_quality(out, lr, hr, pictures=True)
    report_quality(measured, out, folder / "quality.html")
    audited = audit(out, compilers=())
    report_audit(audited, str(out), folder / "audit.html")
    record = bench_record({artifact.file: artifact.sha256 for artifact in result.artifacts})
    report_bench([record], out, folder / "bench.html")
    plain = {
        "parity": parity.to_json(), "quality": {"results": [one.to_json() for one in measured]},
        "audit": audited.to_json(), "bench": record.to_json(),
    }  # fmt: skip
    for name, value in plain.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    report([out, *(folder / f"{name}.json" for name in plain)], folder / "joined.html")
    return Reports(folder, out, **plain)


def halved(photos: Path, folder: Path) -> tuple[Path, Path]:
    """Folders of photographs at half size and whole."""
    from edgesr.images import load_rgb, save_png

    for path in sorted(photos.iterdir()):
        hr = load_rgb(path)[:40, :48]
        lr = hr.reshape(20, 2, 24, 2, 3).mean(axis=(1, 3)).round().astype(hr.dtype)
        save_png(folder / "HR" / path.name, hr)
        save_png(folder / "LR" / f"{path.stem}x2.png", lr)
    return folder / "LR", folder / "HR"
