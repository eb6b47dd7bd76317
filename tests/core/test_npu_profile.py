"""The NPU profiles: one table, unique names, refusals with reasons, and a guess for a misspelt name."""

import pytest
import torch

from edgesr.errors import EdgeSRError
from edgesr.graph import Graph
from edgesr.npu_profile import NPU_PROFILES, NpuProfile, find_npu_profile
from edgesr.ops import VOCABULARY, Conv2d, DepthToSpace, DepthwiseConv2d, TensorSpec
from edgesr.sixteen_bits import FORMAT_REFUSALS
from edgesr.target import Compiler, Format


def test_names_are_unique_and_found_in_any_case() -> None:
    names = [profile.name for profile in NPU_PROFILES]
    assert len(set(names)) == len(names)
    for profile in NPU_PROFILES:
        assert find_npu_profile(profile.name.upper()) is profile


def test_a_soc_is_found_by_its_part_number_and_has_its_familys_costs() -> None:
    elite, family = find_npu_profile("SM8750"), find_npu_profile("qualcomm-htp")
    assert elite.name == "snapdragon-8-elite" and Compiler.QNN in elite.compilers and not family.compilers
    assert (elite.refusals, elite.tail, elite.byte) == (family.refusals, family.tail, family.byte)
    assert find_npu_profile("ethos-u85-1024").max_mac_growth == find_npu_profile("ethos-u85").max_mac_growth


def shuffling(last: bool) -> Graph:
    conv = Conv2d(name="y", inputs=("x",), weight=torch.zeros(12, 3, 1, 1, dtype=torch.float64))
    shuffle = DepthToSpace(name="z", inputs=("y",), block=2)
    return Graph("net", TensorSpec("x", 3), (conv, shuffle) if last else (conv,), "z" if last else "y")


def test_the_host_shuffles_only_for_npus_that_cannot_and_networks_that_do() -> None:
    assert find_npu_profile("ethos-u85").host_shuffle(shuffling(last=True)) == 2
    assert find_npu_profile("ethos-u85").host_shuffle(shuffling(last=False)) == 1
    assert find_npu_profile("qualcomm-htp").host_shuffle(shuffling(last=True)) == 1


@pytest.mark.parametrize("profile", NPU_PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("format_", Format)
def test_a_profile_refuses_what_the_format_refuses_and_says_why(profile: NpuProfile, format_: Format) -> None:
    refusals = profile.wide_refusals(format_)
    assert set(refusals) >= set(FORMAT_REFUSALS[format_]) and set(refusals) <= set(VOCABULARY)
    assert all(len(why) > 20 for why in refusals.values())
    assert profile.assumption and profile.wide_mac >= 1


def test_the_reason_is_the_runtimes_own_where_both_refuse() -> None:
    htp = find_npu_profile("qualcomm-htp")
    assert "LiteRT" in htp.wide_refusals(Format.TFLITE)[DepthToSpace]
    assert "HTP" in htp.wide_refusals(Format.TFLITE)[DepthwiseConv2d]
    assert DepthwiseConv2d not in htp.wide_refusals(Format.ONNX)


def test_an_unknown_name_is_guessed() -> None:
    with pytest.raises(EdgeSRError, match="no NPU profile is called 'qualcom-htp'; choose qualcomm-htp"):
        find_npu_profile("qualcom-htp")
    with pytest.raises(EdgeSRError, match=r"'snapdragon-8-elit'; choose snapdragon-8-elite"):
        find_npu_profile("snapdragon-8-elit")
    with pytest.raises(EdgeSRError, match="choose generic, qualcomm-htp, ethos-u85"):
        find_npu_profile("zzzz")


@pytest.mark.parametrize(("wide_mac", "byte"), [(0.5, 1.0), (2.0, -1.0)])
def test_16_bits_and_memory_are_never_free(wide_mac: float, byte: float) -> None:
    with pytest.raises(ValueError, match="costs at least"):
        NpuProfile("x", "x", wide_mac, byte, "x")
