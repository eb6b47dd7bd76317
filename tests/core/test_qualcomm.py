import pytest

from edgesr.errors import EdgeSRError
from edgesr.qualcomm import SOCS, Soc, find_soc


@pytest.mark.parametrize("soc", SOCS, ids=lambda soc: soc.part)
def test_both_names_find_a_soc_in_any_case(soc: Soc) -> None:
    for name in (soc.name, soc.part, soc.name.upper(), soc.part.lower(), soc.name.replace("-", "_")):
        assert find_soc(name) is soc
    assert find_soc(soc.name.replace("-", " ").title()) is soc


def test_the_numbers_are_qualcomms() -> None:
    """QNN's own ids: written a second time, from the facts that were measured with its compiler."""
    numbers = {soc.part: (soc.soc_model, soc.htp_arch) for soc in SOCS}
    first = {"SM8450": (36, 69), "SM8550": (43, 73), "SM8650": (57, 75)}
    assert numbers == first | {"SM8750": (69, 79), "SM8850": (87, 81)}
    assert len({soc.name for soc in SOCS}) == len(SOCS)


def test_an_unknown_name_is_answered_with_the_near_ones() -> None:
    with pytest.raises(EdgeSRError, match=r"^no Qualcomm SoC is called 'SM8755'; choose .*SM8750"):
        find_soc("SM8755")
    with pytest.raises(EdgeSRError, match=r"'snapdragon-8-elit'; choose snapdragon-8-elite or "):
        find_soc("snapdragon-8-elit")
    with pytest.raises(EdgeSRError) as caught:
        find_soc("qqq")
    assert all(soc.name in str(caught.value) for soc in SOCS) and "\n" not in str(caught.value)


def test_numbers_that_no_htp_has() -> None:
    with pytest.raises(ValueError, match="SM1: soc_model 0 or htp_arch 75 is no HTP's"):
        Soc("x", "SM1", 0, 75)
    with pytest.raises(ValueError, match="htp_arch 6 is no HTP's"):
        Soc("x", "SM1", 1, 6)
