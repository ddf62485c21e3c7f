"""Leases of tasks and the presence of workers, on a clock that the tests turn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.log.embedded import EmbeddedLog
from streams.log.leases import Held, Leases, is_gone, owner_name
from streams.log.protocol import Fenced, Topic


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1_000_000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[EmbeddedLog]:
    with EmbeddedLog(tmp_path / "log.db", clock=clock, lease_seconds=30) as log:
        log.create([Topic("t", 1)])
        yield log


@pytest.fixture
def leases(log: EmbeddedLog) -> Leases:
    return log.leases


def test_a_free_task_can_be_claimed(leases: Leases) -> None:
    assert leases.claim("task/0", "one", 10)
    assert leases.held() == [Held("task/0", "one", 0, 11_000_000)]


def test_a_held_task_cannot_be_claimed_by_another(leases: Leases, clock: Clock) -> None:
    leases.claim("task/0", "one", 10)
    clock.advance(9.9)
    assert not leases.claim("task/0", "other", 10)
    assert leases.held()[0].owner == "one"


def test_an_expired_task_can_be_claimed_by_another(leases: Leases, clock: Clock) -> None:
    leases.claim("task/0", "one", 10)
    clock.advance(10)
    assert leases.claim("task/0", "other", 10)
    assert leases.held()[0].owner == "other"


def test_the_owner_can_claim_again(leases: Leases, clock: Clock) -> None:
    leases.claim("task/0", "one", 10)
    clock.advance(5)
    assert leases.claim("task/0", "one", 10)
    assert leases.held()[0].expires == 16_000_000


def test_a_released_task_can_be_claimed(leases: Leases) -> None:
    leases.claim("task/0", "one", 10)
    leases.release("task/0", "one")
    assert leases.held() == []
    assert leases.claim("task/0", "other", 10)


def test_only_the_owner_can_release(leases: Leases) -> None:
    leases.claim("task/0", "one", 10)
    leases.release("task/0", "other")
    assert leases.held()[0].owner == "one"


def test_renewing_lengthens_every_lease_of_the_owner_and_tells_which(leases: Leases, clock: Clock) -> None:
    for task, owner in (("b/0", "one"), ("a/0", "one"), ("c/0", "other")):
        leases.claim(task, owner, 10)
    clock.advance(5)
    assert leases.renew("one", 10) == ["a/0", "b/0"]
    assert [held.expires for held in leases.held()] == [16_000_000, 16_000_000, 11_000_000]


def test_renewing_does_not_bring_back_what_was_taken_over(leases: Leases, clock: Clock) -> None:
    leases.claim("task/0", "one", 10)
    clock.advance(11)
    leases.claim("task/0", "other", 10)
    assert leases.renew("one", 10) == []
    assert leases.held()[0].owner == "other"


def test_a_writer_holds_its_task_and_gives_it_up_when_closed(log: EmbeddedLog) -> None:
    writer = log.writer("task/0", "one")
    assert log.leases.held() == [Held("task/0", "one", 1, 31_000_000)]
    assert not log.leases.claim("task/0", "other", 10)
    writer.close()
    assert log.leases.claim("task/0", "other", 10)


def test_epochs_only_grow(log: EmbeddedLog) -> None:
    for epoch in (1, 2, 3):
        writer = log.writer("task/0")
        assert log.leases.held()[0].epoch == epoch
        writer.close()
        log.leases.claim("task/0", "one", 10)
        log.leases.release("task/0", "one")


def test_a_claim_fences_nobody_and_a_writer_does(log: EmbeddedLog, clock: Clock) -> None:
    older = log.writer("task/0", "one")
    clock.advance(31)
    assert log.leases.claim("task/0", "other", 10)
    older.append("t", 0, [None], [b"still allowed"], ())
    older.commit()
    log.writer("task/0", "other")
    older.append("t", 0, [None], [b"too late"], ())
    with pytest.raises(Fenced, match="other"):
        older.commit()
    assert log.read("t", 0, 0).values == (b"still allowed",)


def test_closing_a_fenced_writer_leaves_the_lease_to_the_newer_one(log: EmbeddedLog) -> None:
    older = log.writer("task/0", "one")
    log.writer("task/0", "other")
    older.close()
    assert log.leases.held()[0].owner == "other"


def test_a_writer_without_a_name_is_owned_by_its_process(log: EmbeddedLog) -> None:
    log.writer("task/0")
    assert log.leases.held()[0].owner == owner_name()


def test_workers_are_there_until_their_time_is_out(leases: Leases, clock: Clock) -> None:
    leases.announce("b", 10)
    leases.announce("a", 20)
    assert leases.workers() == ["a", "b"]
    clock.advance(10)
    assert leases.workers() == ["a"]


def test_a_worker_that_announces_again_stays(leases: Leases, clock: Clock) -> None:
    leases.announce("a", 10)
    clock.advance(9)
    leases.announce("a", 10)
    clock.advance(9)
    assert leases.workers() == ["a"]


def test_a_worker_can_say_that_it_leaves(leases: Leases) -> None:
    leases.announce("a", 10)
    leases.announce("a", 0)
    assert leases.workers() == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are known on Linux alone")
def test_a_process_that_ended_is_gone_and_a_living_one_is_not() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    name, _, machine = owner_name("worker").partition(f"#{os.getpid()}.")
    started, _, machine = machine.partition(".")
    ended = f"{name}#{child}.{started}.{machine}"
    os.waitpid(child, 0)
    assert is_gone(ended)
    assert not is_gone(owner_name("worker"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are known on Linux alone")
def test_a_process_number_in_use_again_does_not_keep_the_owner_alive() -> None:
    name, started, machine = owner_name("worker").rsplit(".", 2)
    assert is_gone(f"{name}.{int(started) - 1}.{machine}")


@pytest.mark.parametrize("owner", ["", "worker-7", "worker#1", "w#999999999.1.another-machine", "w#999999999.1.ab-1"])
def test_nothing_is_known_of_an_owner_elsewhere(owner: str) -> None:
    assert not is_gone(owner)
