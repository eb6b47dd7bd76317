import platform
import shutil
from pathlib import Path

import pytest

from edgesr.android_bench.runner.build import BuildRequest, build
from edgesr.android_bench.runner.bundle import Bundle, Platform


@pytest.fixture(scope="session")
def native_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The runner for this machine, so that its protocol is tested without an emulator."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip(f"the native runner is built for x86-64 Linux, this is {platform.system()} {platform.machine()}")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine")
    folder: Path = tmp_path_factory.mktemp("bundle") / "linux-x86_64"
    return build(BuildRequest(Platform.LINUX_X86_64, folder))
