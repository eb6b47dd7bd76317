import pytest

from edgesr.errors import EdgeSRError
from edgesr.export.npu.socs import every_npu, find_npu, load_socs
from edgesr.export.npu.tables import TABLE_NAMES, load_tables


@pytest.mark.parametrize(
    ("name", "npu", "soc"),
    [
        ("snapdragon-8-elite", "qualcomm-htp", "SM8750"),
        ("Snapdragon 8 Elite", "qualcomm-htp", "SM8750"),
        ("snapdragon_8_elite_gen_5", "qualcomm-htp", "SM8850"),
        ("sm8550", "qualcomm-htp", "SM8550"),
        ("qualcomm", "qualcomm-htp", None),
        ("qualcomm-htp", "qualcomm-htp", None),
        ("mediatek", "mediatek-neuropilot", None),
        ("MT6989", "mediatek-neuropilot", "MT6989"),
        ("mt6989", "mediatek-neuropilot", "MT6989"),
        ("dimensity-9400", "mediatek-neuropilot", "MT6991"),
        ("samsung", "samsung-exynos", None),
        ("exynos-2600", "samsung-exynos", "E9965"),
        ("google", "google-tensor", None),
        ("tensor-g5", "google-tensor", "Tensor_G5"),
        ("Tensor G5", "google-tensor", "Tensor_G5"),
        ("intel", "intel-npu", None),
        ("lnl", "intel-npu", "LNL"),
        ("ethos-u85", "ethos-u85", None),
        ("arm_ethos_u85", "ethos-u85", None),
        ("Ethos-U85-1024", "ethos-u85", "ethos-u85-1024"),
        ("ethos-u65-512", "ethos-u65", "ethos-u65-512"),
    ],
)
def test_names(name: str, npu: str, soc: str | None) -> None:
    found = find_npu(name)
    assert (found.table.npu, found.soc, found.note) == (npu, soc, "")


@pytest.mark.parametrize(
    ("name", "soc"), [("SM8750P", "SM8750"), ("sm8750-ac", "SM8750"), ("s5e9965", "E9965"), ("E9955X", "E9955")]
)
def test_retail_strings_are_read_by_their_beginning_and_say_so(name: str, soc: str) -> None:
    found = find_npu(name)
    assert found.soc == soc and found.note == f"'{name}' is in no table; it is read as {soc}, with which it begins"


def test_a_string_of_the_table_wins_over_a_shorter_one() -> None:
    assert find_npu("SM8845P").soc == "SM8845P" and find_npu("SM8845P").note == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SM8751", r"choose SM8750 \(Snapdragon 8 Elite\) or "),
        ("ethos-u86", "choose ethos-u"),
        ("snapdragon-9-elite", r"SM8750 \(Snapdragon 8 Elite\)"),
        ("foo", "choose from qualcomm-htp, .*, or a SoC such as SM8750"),
        ("", "choose from"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(name: str, words: str) -> None:
    with pytest.raises(EdgeSRError, match=rf"no NPU is called '{name}'; .*{words}|no NPU is called '{name}'; {words}"):
        find_npu(name)


def test_every_soc_belongs_to_a_table() -> None:
    assert {soc.npu for soc in load_socs()} <= {table.npu for table in load_tables()}
    assert all(soc.marketing_source for soc in load_socs() if soc.marketing_name and soc.npu == "qualcomm-htp")
    assert tuple(npu.name for npu in every_npu()) == TABLE_NAMES
