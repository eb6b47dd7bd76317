"""The table of accelerators: unique, of known families, and near names for a misspelt one."""

import pytest

from edgesr.errors import EdgeSRError
from edgesr.ethos_u import ETHOS_U, MemoryMode, SystemConfig, find_ethos_u


def test_the_table_holds_every_accelerator_of_vela_once() -> None:
    sizes = {"ethos-u55": (32, 64, 128, 256), "ethos-u65": (256, 512), "ethos-u85": (128, 256, 512, 1024, 2048)}
    expected = [f"{family}-{macs}" for family, all_macs in sizes.items() for macs in all_macs]
    assert [accelerator.name for accelerator in ETHOS_U] == expected
    assert [accelerator.macs_per_cycle for accelerator in ETHOS_U] == [n for macs in sizes.values() for n in macs]


def test_a_system_belongs_to_the_accelerators_family_and_has_its_memory() -> None:
    for accelerator in ETHOS_U:
        assert accelerator.system.name.startswith(accelerator.family.title().replace("-", "_"))
        has_dram = "DRAM" in accelerator.system.memories
        assert accelerator.memory_mode is (MemoryMode.DEDICATED_SRAM if has_dram else MemoryMode.SHARED_SRAM)
        for part in (accelerator.system.name, str(accelerator.system.clock_mhz), accelerator.system.memories):
            assert part in accelerator.setting


def test_names_in_any_case_and_near_ones() -> None:
    assert find_ethos_u("Ethos-U85-1024").name == "ethos-u85-1024"
    with pytest.raises(EdgeSRError, match=r"^no Ethos-U accelerator is called 'ethos-u85-1042'; choose ethos-u85-1024"):
        find_ethos_u("ethos-u85-1042")
    with pytest.raises(EdgeSRError, match="choose ethos-u55-32, ethos-u55-64"):
        find_ethos_u("tpu")


def test_a_clock_stands_not_still() -> None:
    with pytest.raises(ValueError, match="clock of 0 MHz"):
        SystemConfig("x", 0, "")
