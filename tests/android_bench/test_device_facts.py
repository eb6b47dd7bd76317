"""Facts from what real devices print; each is unknown where a device prints nothing, or something else."""

import pytest

from edgesr.android_bench.device_facts import (
    Battery,
    Core,
    DeviceFacts,
    describe_soc,
    parse_battery,
    parse_core_range,
    parse_thermal,
    read_condition,
    read_facts,
)
from edgesr.android_bench.shell import ScriptedShell

GETPROP = """[ro.product.manufacturer]: [samsung]
[ro.product.model]: [SM-S938B]
[ro.soc.manufacturer]: [QTI]
[ro.soc.model]: [SM8750P]
[ro.board.platform]: [sun]
[ro.build.version.release]: [16]
[ro.build.version.sdk]: [36]
[ro.build.fingerprint]: [samsung/pa3q/pa3q:16/BP2A/1:user/release-keys]
[ro.serialno]: [R5CX1]
[ro.product.cpu.abilist]: [arm64-v8a]
[persist.sys.locale]: []
"""
MEMINFO = "MemTotal:       11534336 kB\nMemFree:          300000 kB\nMemAvailable:    4194304 kB\n"
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=38.3, mType=3, mName=SKIN, mStatus=1}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=41.25, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=-2.0, mType=2, mName=BATTERY, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Charge counter: 3012000
  status: 2
  health: 2
  present: true
  level: 83
  scale: 100
  voltage: 4215
  temperature: 312
  technology: Li-ion
"""
CLOCKS = "".join(
    f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq:{3532800 if core < 6 else 4320000}\n"
    for core in range(8)
)
PATHS = " ".join(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq" for core in range(8))
PHONE = ScriptedShell({
    "getprop": GETPROP,
    "cat /proc/meminfo": MEMINFO,
    "cat /sys/devices/system/cpu/present": "0-7\n",
    f"grep -sH . {PATHS}": CLOCKS,
    "dumpsys thermalservice": THERMAL,
    "dumpsys battery": BATTERY,
})  # fmt: skip


def test_a_phone_tells_all() -> None:
    facts = read_facts(PHONE)
    assert (facts.manufacturer, facts.model, facts.soc_maker, facts.soc) == ("samsung", "SM-S938B", "QTI", "SM8750P")
    assert (facts.android, facts.sdk, facts.abis) == ("16", "36", ("arm64-v8a",))
    assert facts.cores[0] == Core(0, 3532800) and facts.cores[7] == Core(7, 4320000) and len(facts.cores) == 8
    assert (facts.memory_bytes, facts.available_bytes) == (11534336 * 1024, 4194304 * 1024)
    assert facts.identity == "samsung/pa3q/pa3q:16/BP2A/1:user/release-keys R5CX1"
    assert facts.title == "samsung SM-S938B, SM8750P (taken for SM8750, snapdragon-8-elite)"


@pytest.mark.parametrize(
    "line",
    [
        "[ro.kernel.qemu]: [1]\n",
        "[ro.boot.qemu]: [1]\n",
        "[ro.soc.model]: [qemu cortex-a76]\n",
        "[ro.hardware]: [ranchu]\n",
    ],
)
def test_an_emulator_is_known(line: str) -> None:
    assert read_facts(ScriptedShell({"getprop": line})).emulator
    assert not read_facts(PHONE).emulator


def test_its_condition() -> None:
    condition = read_condition(PHONE)
    assert condition.thermal_status == 1 and condition.heat == "1 (light)"
    assert condition.temperatures_c == {"SKIN": 38.3, "CPU0": 41.25, "BATTERY": -2.0}
    assert condition.battery == Battery(83, 31.2, 4215, 3012000, True)


def test_a_device_that_tells_nothing_has_no_facts() -> None:
    silent = ScriptedShell({})
    assert read_facts(silent) == DeviceFacts()
    condition = read_condition(silent)
    assert condition.thermal_status is None and condition.battery == Battery() and condition.heat == "unknown"


def test_noise_is_no_fact() -> None:
    noise = ScriptedShell(dict.fromkeys(PHONE.answers, "Error: permission denial\n"))
    assert read_facts(noise) == DeviceFacts()
    assert read_condition(noise).battery == Battery()


def test_a_core_whose_clock_is_hidden_stays_a_core() -> None:
    answers = dict(PHONE.answers) | {f"grep -sH . {PATHS}": CLOCKS.splitlines(keepends=True)[0]}
    cores = read_facts(ScriptedShell(answers)).cores
    assert cores[0].max_khz == 3532800 and [core.max_khz for core in cores[1:]] == [None] * 7


@pytest.mark.parametrize(
    ("soc", "words"),
    [
        ("SM8750", "SM8750 (snapdragon-8-elite)"),
        ("SM8650AC", "SM8650AC (taken for SM8650, snapdragon-8-gen-3)"),
        ("Tensor G5", "Tensor G5"),
    ],
)
def test_a_soc_by_its_part_number(soc: str, words: str) -> None:
    assert describe_soc(soc) == words


@pytest.mark.parametrize(("text", "cores"), [("0-3,6", (0, 1, 2, 3, 6)), ("0", (0,)), ("", ()), ("none\n", ())])
def test_kernel_lists(text: str, cores: tuple[int, ...]) -> None:
    assert parse_core_range(text) == cores


def test_an_unplugged_phone() -> None:
    assert parse_battery(BATTERY.replace("USB powered: true", "USB powered: false")).plugged is False


def test_a_status_beyond_the_known_ones_is_kept() -> None:
    assert parse_thermal("Thermal Status: 6")[0] == 6
