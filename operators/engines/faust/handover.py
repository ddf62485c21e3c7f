"""How Faust's event loop tells the thread that runs tasks which it has, and waits until that thread stands still."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Condition

from operators.engines.assignment import NOTHING, Assignment


class Handover:
    """Between two threads: the group gives, holds and ends; the other one works.

    While it is held no new transaction begins. Whoever works nevertheless, as it hangs or is late, does no harm: the
    next owner of its tasks fences it.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._assignment = NOTHING
        self._held = True
        self._over = False
        self._working = False

    def give(self, tasks: Iterable[str]) -> None:
        """The group has decided: these tasks, from now on."""
        with self._changed:
            self._assignment = Assignment(self._assignment.number + 1, frozenset(tasks))
            self._held = False
            self._changed.notify_all()

    def hold(self, seconds: float) -> bool:
        """The group decides anew. True as soon as no transaction is open, False if that takes longer than `seconds`."""
        with self._changed:
            self._held = True
            return self._changed.wait_for(lambda: not self._working, seconds)

    def end(self) -> None:
        """Stop behind the transaction that is open."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def assignment(self) -> Assignment:
        return self._assignment

    def interrupted(self) -> bool:
        """True if whoever works is to stand still."""
        return self._held or self._over

    @property
    def over(self) -> bool:
        return self._over

    def begin(self, seconds: float) -> bool:
        """Start to work; False if that may not be, after waiting up to `seconds` for it."""
        with self._changed:
            self._working = self._changed.wait_for(lambda: not self._held or self._over, seconds) and not self._over
            return self._working

    def rest(self) -> None:
        """No transaction is open."""
        with self._changed:
            self._working = False
            self._changed.notify_all()
