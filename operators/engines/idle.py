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

    def wait(self, timeout: float) -> None:
        """Return as soon as anybody committed something since `begin`, or after `timeout` seconds."""
        if self._waker is None:
            self._log.wait(timeout, self._version)
        else:
            self._waker.wait_for_more(timeout)
