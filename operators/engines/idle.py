"""What a worker with nothing to do does: it waits for the log."""

from __future__ import annotations

from streams.log.protocol import Log, WakesReaders


class Idle:
    """Waits until there is something to read that a pass over the tasks did not see. Call `begin` before each pass."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._waker = log if isinstance(log, WakesReaders) else None
        self._version = 0

    def begin(self) -> None:
        if self._waker is None:
            self._version = self._log.version()

    @property
    def is_woken(self) -> bool:
        """True if waiting costs nothing and needs no `begin`, as the log says by itself when there is more."""
        return self._waker is not None

    def wait(self, timeout: float) -> bool:
        """Return as soon as anybody committed something since `begin`, or after `timeout` seconds; False if surely
        nobody did."""
        if self._waker is None:
            return self._log.wait(timeout, self._version) != self._version
        self._waker.wait_for_more(timeout)
        return True
