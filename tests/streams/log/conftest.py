"""The logs under test: one fixture, one parameter an implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from streams.log import Log, open_log


@pytest.fixture(params=["embedded", "kafka", "kafka+fast"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Log]]:
    """Opens the same log once more at each call, as another process would."""
    opened: list[Log] = []
    url = str(tmp_path / "log.db")
    if request.param != "embedded":
        # A log of its own on a broker that others use too.
        url = f"{request.param}://{request.getfixturevalue('kafka_address')}?prefix=test-{uuid4().hex[:10]}."

    def opening() -> Log:
        opened.append(open_log(url))
        return opened[-1]

    yield opening
    for log in opened:
        log.close()


@pytest.fixture
def log(open_again: Callable[[], Log]) -> Log:
    return open_again()
