"""The emulated device behind the real adb, with the real arm64 LiteRT."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.android_bench.emulated.device import EmulatedDevice
from edgesr.android_bench.emulated.faults import Auth, Faults
from edgesr.android_bench.runner.bundle import Platform, find_bundle
from edgesr.architecture import SRModel
from edgesr.model.registry import load_model
from edgesr.target import Precision

pytestmark = pytest.mark.device
OFFICIAL = Path(os.environ.get("EDGESR_SHARED", "../shared")) / "checkpoints" / "spanv2_x4_official.pth"
WORK = "/data/local/tmp"
LIMIT_S = 120.0
LITERT_OF_COUNTS = "2.3.0"
OFFICIAL_INSTRUCTIONS = {(Precision.INT8, 64): 62_332_115, (Precision.FP32, 16): 12_815_806}
"""What SPANV2 with the official weights takes at a square size, without the folds that INT8 quality may ask for."""
SLACK = 0.001
"""For another compiler's C library; LiteRT's kernels are the same bytes."""


@dataclass(frozen=True)
class Adb:
    """A client of a device's own adb server."""

    device: EmulatedDevice

    def __call__(self, *words: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(self.device.adb), "-s", self.device.serial, *map(str, words)], env=dict(self.device.environment),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip

    def shell(self, command: str) -> str:
        done = self("shell", command)
        assert done.returncode == 0, done
        return done.stdout.decode()

    def start(self, command: str) -> subprocess.Popen[bytes]:
        words = [str(self.device.adb), "-s", self.device.serial, "shell", command]
        return subprocess.Popen(
            words, env=dict(self.device.environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture(scope="module")
def device(emulator: type[EmulatedDevice]) -> Iterator[EmulatedDevice]:
    with emulator() as opened:
        yield opened


@pytest.fixture(scope="module")
def adb(device: EmulatedDevice) -> Adb:
    return Adb(device)


def wait_until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_codes_and_streams_come_through(code: int, adb: Adb) -> None:
    done = adb("shell", f"echo out; echo err >&2; exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"out\n", b"err\n")


def test_it_says_what_it_is(adb: Adb) -> None:
    assert adb.shell("getprop ro.product.model") == "edgesr emulated\n"
    assert adb.shell("getprop ro.product.cpu.abi") == "arm64-v8a\n"
    assert adb.shell("uname -m") == "aarch64\n"
    assert "CPU implementer\t: 0x41" in adb.shell("cat /proc/cpuinfo")
    assert "present: false" in adb.shell("dumpsys battery")
    assert "Thermal Status: 0" in adb.shell("dumpsys thermalservice")


FACTS = {
    "nproc": lambda said: int(said) >= 1,
    "head -1 /proc/meminfo": lambda said: said.startswith("MemTotal:"),
    f"df -k {WORK}": lambda said: said.splitlines()[1].split()[-1].startswith("/"),
    "taskset -p $$": lambda said: "affinity mask" in said,
    "cat /sys/devices/system/cpu/possible": lambda said: said.startswith("0"),
    "id": lambda said: said.startswith("uid=") and ("(root)" in said or "(shell)" in said),
    "kill -0 $$ && echo alive": lambda said: said == "alive\n",
    "ps -A -o PID,ARGS | grep -c qemu-aarch64": lambda said: int(said) >= 1,
    "test -x /system/bin/ls && echo yes": lambda said: said == "yes\n",
}


@pytest.mark.parametrize("command", FACTS)
def test_its_commands_answer_as_androids_do(command: str, adb: Adb) -> None:
    assert FACTS[command](adb.shell(command)), command


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_003])
def test_binary_files_go_there_and_back(size: int, adb: Adb, tmp_path: Path) -> None:
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "there").write_bytes(content)
    assert adb("push", tmp_path / "there", f"{WORK}/a b/file").returncode == 0
    assert adb.shell(f"sha256sum '{WORK}/a b/file'").split()[0] == hashlib.sha256(content).hexdigest()
    assert adb("pull", f"{WORK}/a b/file", tmp_path / "back").returncode == 0
    assert (tmp_path / "back").read_bytes() == content
    adb.shell(f"rm -r '{WORK}/a b'")


def test_a_client_that_goes_away_takes_its_processes_along(device: EmulatedDevice, adb: Adb) -> None:
    """Also those in the background and in a session of their own."""
    with adb.start("sleep 200 & setsid sleep 201 & exec sleep 202") as client:
        wait_until(lambda: sum("sleep 20" in guest.command for guest in device.processes()) >= 3)
        client.kill()
    wait_until(lambda: not device.processes())


@pytest.fixture(scope="module")
def bundle_there(adb: Adb) -> str:
    """The runner's folder on the device."""
    assert adb("push", find_bundle(Platform.LINUX_ARM64).folder, f"{WORK}/bundle").returncode == 0
    return f"{WORK}/bundle"


@dataclass(frozen=True)
class Ran:
    events: list[dict[str, Any]]
    output: bytes
    instructions: tuple[int, ...]


Runner = Callable[..., Ran]


@pytest.fixture
def run(device: EmulatedDevice, adb: Adb, bundle_there: str, tmp_path: Path) -> Runner:
    """Push a network and an image, run, pull the output."""

    def call(network: Any, size: tuple[int, int], runs: int, warmup: int, *flags: str) -> Ran:
        (tmp_path / "in").write_bytes(network.input_for(size))
        for path, name in ((network.path, "model.tflite"), (tmp_path / "in", "in")):
            assert adb("push", path, f"{bundle_there}/{name}").returncode == 0
        command = " ".join(find_bundle(Platform.LINUX_ARM64).command)
        words = f"--model=model.tflite --input=in --output=out --runs={runs} --warmup={warmup} {' '.join(flags)}"
        said = adb.shell(f"cd {bundle_there} && {command} {words}")
        assert adb("pull", f"{bundle_there}/out", tmp_path / "out").returncode == 0
        events = [json.loads(line) for line in said.splitlines()]
        return Ran(events, (tmp_path / "out").read_bytes(), device.instruction_counts())

    return call


def test_arm64_computes_the_hosts_bytes_and_counts_repeat(
    gentle_model: SRModel, write_network: Callable[..., Any], run: Runner
) -> None:
    network = write_network(gentle_model, Precision.INT8, ((8, 12), (6, 10)))
    counts = set()
    for _ in range(2):
        ran = run(network, (8, 12), 3, 3)
        assert ran.events[0]["event"] == "start" and ran.events[0]["abi"] == "arm64-v8a"
        assert ran.events[-1]["event"] == "done" and ran.events[-1]["runs"] == 3
        assert ran.output == network.output_for((8, 12))
        assert len(ran.instructions) == 3
        counts |= set(ran.instructions)
    assert len(counts) == 1 and counts.pop() > 10_000
    other = run(network, (6, 10), 1, 1, "--size=6x10")
    assert other.output == network.output_for((6, 10))


def test_float_kernels_may_round_otherwise(
    gentle_model: SRModel, write_network: Callable[..., Any], run: Runner
) -> None:
    """XNNPACK's kernels for few channels add up in another order on arm64: equal to rounding, not to the bit."""
    network = write_network(gentle_model, Precision.FP32, ((8, 12),))
    got, wanted = (
        np.frombuffer(x, np.float32) for x in (run(network, (8, 12), 1, 1).output, network.output_for((8, 12)))
    )
    assert got.shape == wanted.shape and np.abs(got - wanted).max() < 2e-6


@pytest.mark.parametrize(("precision", "edge"), OFFICIAL_INSTRUCTIONS, ids=["int8", "fp32"])
def test_the_official_network_takes_no_more_instructions_than_ever(
    precision: Precision, edge: int, write_network: Callable[..., Any], run: Runner
) -> None:
    if not OFFICIAL.exists():
        pytest.skip(f"the official checkpoint is not at {OFFICIAL}; set EDGESR_SHARED")
    network = write_network(load_model(weights=OFFICIAL), precision, ((edge, edge),))
    ran = run(network, (edge, edge), 3, 2)
    assert ran.output == network.output_for((edge, edge))
    assert len(set(ran.instructions)) == 1 and len(ran.instructions) == 3
    litert = find_bundle(Platform.LINUX_ARM64).litert
    if litert != LITERT_OF_COUNTS:
        pytest.skip(f"counts were taken with LiteRT {LITERT_OF_COUNTS}, this is {litert}")
    assert abs(ran.instructions[0] / OFFICIAL_INSTRUCTIONS[precision, edge] - 1) < SLACK, ran.instructions


def test_errors_of_the_runner_come_through(adb: Adb, bundle_there: str) -> None:
    command = " ".join(find_bundle(Platform.LINUX_ARM64).command)
    done = adb("shell", f"cd {bundle_there} && {command} --model=none.tflite")
    assert done.returncode == 3 and json.loads(done.stdout.splitlines()[-1])["where"] == "none.tflite"


def test_a_program_of_another_machine_does_not_run(adb: Adb) -> None:
    assert adb("push", "/bin/true", f"{WORK}/x86").returncode == 0
    done = adb("shell", f"chmod 755 {WORK}/x86 && {WORK}/x86")
    assert done.returncode != 0 and done.stderr
    adb.shell(f"rm {WORK}/x86")


def test_an_unauthorized_device(emulator: type[EmulatedDevice]) -> None:
    with emulator(faults=Faults(auth=Auth.REJECT)) as device:
        assert f"{device.serial}\tunauthorized" in device.server.client("devices")
        done = Adb(device)("shell", "echo hi")
        assert done.returncode == 1 and b"unauthorized" in done.stderr
    with emulator(faults=Faults(auth=Auth.ACCEPT)) as device:
        assert Adb(device).shell("echo hi") == "hi\n"


def test_a_device_that_goes_offline(emulator: type[EmulatedDevice]) -> None:
    with emulator(faults=Faults(offline=True)) as device:
        wait_until(lambda: f"{device.serial}\toffline" in device.server.client("devices"))
        done = Adb(device)("shell", "echo hi")
        assert done.returncode == 1 and b"offline" in done.stderr


def test_a_device_that_drops_in_the_middle(emulator: type[EmulatedDevice]) -> None:
    with emulator(faults=Faults(drop_on_output="two")) as device:
        done = Adb(device)("shell", "echo one; echo two; sleep 60; echo three")
        assert b"one" in done.stdout and b"three" not in done.stdout
        wait_until(lambda: not device.processes())
        assert Adb(device)("shell", "echo hi").returncode == 1


def test_a_device_without_shell_v2(emulator: type[EmulatedDevice]) -> None:
    with emulator(faults=Faults(shell_v2=False)) as device:
        done = Adb(device)("shell", "echo out; echo err >&2; exit 3")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"out\nerr\n", b"")


def test_a_full_and_a_read_only_device(emulator: type[EmulatedDevice], tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2_000_000))
    with emulator(faults=Faults(no_space_after_bytes=1_000_000)) as device:
        done = Adb(device)("push", tmp_path / "large", WORK)
        assert done.returncode == 1 and b"No space left on device" in done.stderr + done.stdout
        assert Adb(device).shell(f"ls {WORK}") == ""
    with emulator(faults=Faults(read_only=True)) as device:
        done = Adb(device)("push", tmp_path / "large", WORK)
        assert done.returncode == 1 and b"Read-only file system" in done.stderr + done.stdout
        done = Adb(device)("shell", f"mkdir {WORK}/x")
        assert done.returncode == 1 and b"Permission denied" in done.stderr


def test_several_devices(emulator: type[EmulatedDevice]) -> None:
    hot = Faults(properties={"ro.product.model": "second"}, files={"/sys/class/thermal/thermal_zone0/temp": "91000\n"})
    with emulator() as first, emulator(faults=hot, beside=first) as second, emulator() as third:
        listed = first.server.client("devices")
        assert first.serial in listed and second.serial in listed and third.serial not in listed
        assert Adb(second).shell("getprop ro.product.model; cat /sys/class/thermal/*/temp") == "second\n91000\n"
        assert Adb(third).shell("getprop ro.product.model") == "edgesr emulated\n"


def left_behind(folder: Path) -> list[str]:
    """Processes that know a folder by name: adb servers, proots and guests of a device in it."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                content = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if str(folder).encode() in content and state != "Z":
                found.append(content[:200].decode(errors="replace"))
    return found


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_nothing_is_left_behind(
    error: type[BaseException] | None, emulator: type[EmulatedDevice], tmp_path: Path
) -> None:
    def use() -> None:
        with emulator(tmp_path) as device:
            clients.append(Adb(device).start("setsid sleep 300 & exec sleep 301"))
            wait_until(lambda: sum("sleep 30" in guest.command for guest in device.processes()) >= 2)
            assert left_behind(tmp_path)
            if error is not None:
                raise error

    clients: list[subprocess.Popen[bytes]] = []
    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    for client in clients:
        client.communicate(timeout=LIMIT_S)
    wait_until(lambda: not left_behind(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_takes_its_device_along(emulator: type[EmulatedDevice], tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up: the device's files stay, its processes do not."""
    code = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from edgesr.android_bench.emulated.device import EmulatedDevice\n"
        "with EmulatedDevice(Path(sys.argv[1])) as device:\n"
        "    subprocess.Popen([device.adb, '-s', device.serial, 'shell', 'setsid sleep 400 & exec sleep 401'],\n"
        "                     env=dict(device.environment), stdin=subprocess.DEVNULL)\n"
        "    while len(device.processes()) < 2:\n"
        "        time.sleep(0.1)\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"ready\n"
        owner.kill()
    wait_until(lambda: not left_behind(tmp_path))
