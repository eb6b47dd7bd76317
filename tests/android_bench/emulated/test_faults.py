from typing import Any

import pytest

from edgesr.android_bench.emulated.faults import Faults


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"drop_after_seconds": -1.0}, "drop_after_seconds is -1.0; give 0 or more"),
        ({"no_space_after_bytes": -1}, "no_space_after_bytes is -1; give 0 or more"),
        ({"files": {"sys/x": ""}}, "'sys/x' is no absolute path on a device"),
        ({"files": {"/sys/../../x": ""}}, "is no absolute path on a device"),
        ({"services": {"../battery": ""}}, "'../battery' is no name of a service"),
        ({"abi": ""}, "a device has an ABI"),
    ],
)
def test_what_no_device_can_do_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**values)
