"""x"""


def bench() -> None: ...
