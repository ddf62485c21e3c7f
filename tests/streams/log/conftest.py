"""The logs under test: one fixture, one parameter an implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.log.embedded import EmbeddedLog
from streams.log.protocol import Log


@pytest.fixture(params=["embedded"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Log]]:
    """Opens the same log once more at each call, as another process would."""
    opened: list[Log] = []

    def opening() -> Log:
        opened.append({"embedded": lambda: EmbeddedLog(tmp_path / "log.db")}[request.param]())
        return opened[-1]

    yield opening
    for log in opened:
        log.close()


@pytest.fixture
def log(open_again: Callable[[], Log]) -> Log:
    return open_again()
