"""The offline compiler takes minutes in one process: where tests run side by side, it begins first."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "cuda/test_offline_compile" not in item.nodeid)
