"""Kafka for tests, or a skip that says why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import pytest

from tests.kafka_broker import CannotStart


class Kafka(Protocol):
    """A broker, several, or what has one. Starting it may fail with CannotStart."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


AnyKafka = TypeVar("AnyKafka", bound=Kafka)


@contextmanager
def started(make: Callable[[], AnyKafka], *, otherwise: str, hint: str = "") -> Iterator[AnyKafka]:
    """It runs within, and is stopped at the end. If it cannot be had, the test is skipped: `otherwise` and the reason,
    then the hint."""
    try:
        kafka = make()
    except (CannotStart, FileNotFoundError) as reason:
        pytest.skip(f"{otherwise}: {reason}.{hint}")
    try:
        try:
            kafka.start()
        except CannotStart as reason:
            pytest.skip(f"{otherwise}: {reason}.{hint}")
        yield kafka
    finally:
        kafka.stop()
