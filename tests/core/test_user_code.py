from collections.abc import Callable
from pathlib import Path

import pytest

from edgesr.user_code import UserClass, parse_init, parse_user_class, raised_at, traced_at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net.py:Net", UserClass(Path("net.py"), "Net")),
        ("a b/c:d/net.py:_Größe1", UserClass(Path("a b/c:d/net.py"), "_Größe1")),
        ("net.py", None),
        ("net.py:", None),
        ("net.py:a b", None),
        ("net.pth:Net", None),
        ("spanv2_x4", None),
        (None, None),
    ],
)
def test_a_class_in_a_file(text: str | None, expected: UserClass | None) -> None:
    assert parse_user_class(text) == expected


def test_init_is_an_object() -> None:
    assert parse_init('{"upscale": 4, "act": null}') == {"upscale": 4, "act": None}
    for text, why in {
        "": "no JSON",
        "{upscale: 4}": "no JSON",
        "[4]": "a list",
        "4": "a int",
        "null": "a NoneType",
    }.items():
        with pytest.raises(ValueError, match=why):
            parse_init(text)


def test_the_users_line_is_the_last_that_is_no_librarys(tmp_path: Path) -> None:
    """Here torch raises, and what called it is the user's."""
    file = tmp_path / "net.py"
    source = "import torch\n\ndef f():\n    torch.nn.Conv2d(3, -3, 1)\n"
    names: dict[str, Callable[[], None]] = {}
    exec(compile(source, str(file), "exec"), names)
    with pytest.raises(RuntimeError) as failure:
        names["f"]()
    assert raised_at(failure.value) == "net.py:4"
    assert raised_at(ValueError("never raised")) == ""


def test_a_trace_is_read_and_torch_left_out() -> None:
    own = '  File "/x/net.py", line 12, in forward\n    y\n'
    torchs = '  File "/v/site-packages/torch/nn/conv.py", line 3, in forward\n'
    assert traced_at(own + torchs) == "net.py:12"
    assert traced_at("") == ""
    assert traced_at('File "/v/site-packages/torch/a.py", line 3, in f') == ""
