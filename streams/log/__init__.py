"""Where messages lie: the `Log` protocol, its errors, and `open_log`."""

from __future__ import annotations

from streams.log.embedded import EmbeddedLog
from streams.log.protocol import (
    Corrupt,
    Fenced,
    Log,
    LogBusy,
    LogError,
    LogFull,
    Placed,
    Topic,
    TopicMismatch,
    UnknownTopic,
    Writer,
)

__all__ = [
    "Corrupt",
    "Fenced",
    "Log",
    "LogBusy",
    "LogError",
    "LogFull",
    "Placed",
    "Topic",
    "TopicMismatch",
    "UnknownTopic",
    "Writer",
    "open_log",
]


def open_log(url: str) -> Log:
    """The log at `embedded:///path/to/file` or at a plain path. LogError for any other URL."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return EmbeddedLog(url)
    if scheme == "embedded":
        return EmbeddedLog(rest)
    if scheme == "kafka":
        raise LogError(
            "This version of Headwater has no Kafka log",
            where=url,
            fix="It comes with the extra `kafka` in a later release; until then use embedded:///path/to/file.",
        )
    raise LogError(f"No log is known by {scheme}://", where=url, fix="Use embedded:///path/to/file or a plain path.")
