"""The NPU profiles: one table, unique names, refusals with reasons, and a guess for a misspelt name."""

import pytest

from edgesr.cli.export import NPUS
from edgesr.errors import EdgeSRError
from edgesr.npu_profile import NPU_PROFILES, NpuProfile, find_npu_profile
from edgesr.ops import VOCABULARY, DepthToSpace, DepthwiseConv2d
from edgesr.sixteen_bits import FORMAT_REFUSALS
from edgesr.target import Format


def test_names_are_unique_and_those_of_the_command_line() -> None:
    assert tuple(profile.name for profile in NPU_PROFILES) == NPUS
    assert len(set(NPUS)) == len(NPUS)


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
    with pytest.raises(EdgeSRError, match="no NPU profile is called 'qualcom'; choose qualcomm-htp"):
        find_npu_profile("qualcom")
    with pytest.raises(EdgeSRError, match="choose generic, qualcomm-htp, ethos-u85"):
        find_npu_profile("zzzz")


@pytest.mark.parametrize(("wide_mac", "byte"), [(0.5, 1.0), (2.0, -1.0)])
def test_16_bits_and_memory_are_never_free(wide_mac: float, byte: float) -> None:
    with pytest.raises(ValueError, match="costs at least"):
        NpuProfile("x", "x", wide_mac, byte, "x")
