from pathlib import Path

import pytest

from edgesr.android_bench.cache import cache_folder, written_whole
from edgesr.errors import DeviceError


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgesr"
    for relative in ("", "somewhere"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache" / "edgesr"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    for content in ("first", "second"):
        with written_whole(target) as fresh:
            (fresh / content).write_text(content)
            assert not (target / content).exists()
        assert [path.name for path in target.iterdir()] == [content]
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_folder(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with written_whole(target) as fresh:
        (fresh / "old").touch()
    with pytest.raises(error), written_whole(target) as fresh:
        (fresh / "new").touch()
        raise error
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DeviceError, match=r"^cannot write .*folder: Not a directory; choose a folder you can write to$"),
        written_whole(tmp_path / "file" / "folder"),
    ):
        pass
