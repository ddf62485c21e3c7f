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
from streams.log.shown import without_secrets

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
    "without_secrets",
]


def open_log(url: str) -> Log:
    """The log at `embedded:///path/to/file`, at a plain path, or on Kafka at `kafka://host:port?setting=value`.
    LogError for any other URL, for one without its extra, and if no broker answers."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return EmbeddedLog(url)
    if scheme == "embedded":
        return EmbeddedLog(rest)
    if scheme in ("kafka", "kafka+fast"):
        return _kafka(url)
    raise LogError(
        f"No log is known by {scheme}://",
        where=without_secrets(url),
        fix="Use embedded:///path/to/file, a plain path, or kafka://host:port.",
    )


def _kafka(url: str) -> Log:
    try:
        # Only who uses Kafka needs its client.
        from streams.log.kafka import KafkaLog
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "kafka":
            raise
        raise LogError(
            "The client for Kafka is not installed", where=without_secrets(url), fix="pip install 'headwater[kafka]'"
        ) from error
    return KafkaLog(url)
