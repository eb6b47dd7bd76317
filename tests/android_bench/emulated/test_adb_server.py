from pathlib import Path

import pytest

from edgesr.android_bench.cache import cache_folder
from edgesr.android_bench.emulated.adb_server import AdbServer


@pytest.mark.parametrize("named", ["", "/somewhere/cache"])
def test_what_runs_in_its_environment_finds_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = cache_folder()
    for name, value in AdbServer(Path("adb"), tmp_path / "private").environment.items():
        monkeypatch.setenv(name, value)
    assert Path.home() == tmp_path / "private"
    assert cache_folder() == expected
