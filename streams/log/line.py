"""Where processes wait in line for a log's write lock, so that one that commits in a loop does not keep others out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

#: So many processes are served in the order in which they came; more of them compete for the last place.
_PLACES: Final = 4
_PAUSE: Final = 0.0005


class Line:
    """Places in line, each one locked byte of the file `<log>-line`; the kernel frees those of a process that ends.

    It is a courtesy between writers and guards nothing: without file locks, or where the file cannot be made,
    everyone goes straight ahead.
    """

    def __init__(self, path: Path) -> None:
        self._file: int | None = None
        if sys.platform != "win32":
            try:
                self._file = os.open(f"{path}-line", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError:
                self._file = None

    @contextmanager
    def standing(self, until: float) -> Iterator[None]:
        """Come to the front, or go ahead anyway when `until` (of `time.monotonic`) has passed; stay there meanwhile."""
        held: int | None = None
        try:
            for place in reversed(range(_PLACES)):
                if not self._wait_for(place, until):
                    break
                self._leave(held)
                held = place
            yield
        finally:
            self._leave(held)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _wait_for(self, place: int, until: float) -> bool:
        while not self._take(place):
            if time.monotonic() >= until:
                return False
            time.sleep(_PAUSE)
        return True

    def _take(self, place: int) -> bool:
        if sys.platform != "win32" and self._file is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):
                return False
        return True

    def _leave(self, place: int | None) -> None:
        if sys.platform != "win32" and self._file is not None and place is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
