"""Connections to SQLite files and forks: none may be open while the process forks.

SQLite knows per process which locks it holds on a file. A child that is forked while its parent has the file open
believes that it holds its parent's locks and takes none of its own. When the parent is gone, nothing tells others that
the child still uses the file: they reset its journal under it, which damages the file.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

#: A fork waits so many seconds for threads that use a connection; then it goes on as if they did not.
_PATIENCE: Final = 10.0


class Gate:
    """Counts the threads that use a connection, and can be shut to all others. A thread that is inside may enter once
    more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: dict[int, int] = {}
        self._shut = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        thread = threading.get_ident()
        self.enter(thread)
        try:
            yield
        finally:
            self.leave(thread)

    def enter(self, thread: int) -> None:
        with self._changed:
            while self._shut and thread not in self._inside:
                self._changed.wait()
            self._inside[thread] = self._inside.get(thread, 0) + 1

    def leave(self, thread: int) -> None:
        with self._changed:
            left = self._inside.pop(thread, 0) - 1
            if left > 0:
                self._inside[thread] = left
            self._changed.notify_all()

    def shut(self) -> bool:
        """Keep newcomers out until `reopen`. True once nobody is inside; False if the calling thread is itself, or if
        others do not leave in time."""
        until = time.monotonic() + _PATIENCE
        with self._changed:
            self._shut = True
            while self._inside and threading.get_ident() not in self._inside:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return not self._inside

    def reopen(self) -> None:
        with self._changed:
            self._shut = False
            self._changed.notify_all()


class ClosesAtForks(Protocol):
    """Something with connections."""

    def before_fork(self) -> None:
        """Close them, and open none until `after_fork`."""

    def after_fork(self) -> None:
        """In the parent, and in the child."""


def close_at_forks(one: ClosesAtForks) -> None:
    """Have it told of each fork of this process, as long as anything else refers to it."""
    if sys.platform == "win32":
        return
    known = weakref.ref(one)

    def before() -> None:
        there = known()
        if there is not None:
            there.before_fork()

    def after() -> None:
        there = known()
        if there is not None:
            there.after_fork()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)
