"""Transactions of one task with librdkafka (the extra `fast`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from threading import current_thread, main_thread
from time import monotonic, sleep
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as Client

from streams.log.kafka.fast_settings import fast_settings
from streams.log.kafka.topics import LARGEST_MESSAGE
from streams.log.kafka.vigil import SILENCE_SECONDS
from streams.log.kafka.wire import Place, Wire
from streams.log.protocol import Fenced, LogBusy, LogError
from streams.message import Headers

logger = logging.getLogger(__name__)

#: A transaction that cannot be written for so long is given up.
DELIVERY_SECONDS: Final = 60.0
CONNECTING_SECONDS: Final = 0.03

_FENCING = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
    KafkaError.INVALID_TXN_STATE,
    KafkaError.UNKNOWN_PRODUCER_ID,
}
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_AWAY = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._MSG_TIMED_OUT}


class _Span:
    """The first and last offset of the messages of one `send`, as the broker confirms them."""

    __slots__ = ("count", "error", "first", "last")

    def __init__(self, count: int) -> None:
        self.count = count
        self.first = -1
        self.last = -1
        self.error: KafkaError | None = None

    def begins(self, error: KafkaError | None, message: Any) -> None:
        self.error = self.error or error
        self.first = message.offset()

    def ends(self, error: KafkaError | None, message: Any) -> None:
        self.error = self.error or error
        self.last = message.offset()

    def is_all(self, error: KafkaError | None, message: Any) -> None:
        self.begins(error, message)
        self.ends(error, message)


class FastProducer:
    """Sends the messages of a transaction as they come; what `Producer` in streams/log/kafka/producer.py is for
    kafka-python."""

    def __init__(self, wire: Wire, transactional_id: str, topics: Sequence[str] = ()) -> None:
        self._wire = wire
        self.transactional_id = transactional_id
        address = wire.address
        self._client: Any = Client(
            {
                **fast_settings(address),
                "transactional.id": transactional_id,
                "transaction.timeout.ms": round(address.transaction_timeout * 1_000),
                "delivery.timeout.ms": round(min(DELIVERY_SECONDS, address.transaction_timeout) * 1_000),
                "message.max.bytes": LARGEST_MESSAGE + (64 << 10),
                "batch.size": 1 << 20,
                "batch.num.messages": 100_000,
                "linger.ms": 2,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 256 << 10,
                "compression.type": address.compression_type or "none",
            }
        )
        self._sent: list[_Span] = []
        # It looks for the coordinator at once, and if it is not connected by then, again half a second later.
        self._wait(self._connect, "connecting", None)
        sleep(CONNECTING_SECONDS)
        self._wait(self._client.init_transactions, f"taking {transactional_id} over", None)

    def _connect(self, seconds: float) -> None:
        self._client.list_topics("__transaction_state", timeout=seconds)

    def begin(self, soon: Iterable[Place]) -> None:
        """Begin a transaction; this client adds each partition when it first writes there."""
        self._do(self._client.begin_transaction, "beginning a transaction")

    def send(
        self,
        place: Place,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Headers] | Headers,
    ) -> None:
        """Send messages to one partition, in order."""
        count = len(values)
        span = _Span(count)
        self._sent.append(span)
        produce = self._client.produce
        topic, partition = place
        each = repeat(headers, count) if isinstance(headers, tuple) else headers
        last = count - 1
        listed: list[Any] | None = None
        before: Headers | None = None
        for index, (key, value, own) in enumerate(zip(keys, values, each, strict=True)):
            if own is not before:
                before, listed = own, list(own) or None
            told = None
            if index in (0, last):
                told = span.is_all if last == 0 else span.begins if index == 0 else span.ends
            while True:
                try:
                    produce(topic, value, key, partition, told, None, 0, listed)
                    break
                except BufferError:
                    # What is queued must go out first.
                    self._do(lambda: self._client.poll(0.1), f"writing to {topic}")
                except (KafkaException, TypeError, ValueError) as error:
                    raise self._translated(error, f"writing to {topic}") from error
        self._do(lambda: self._client.poll(0), f"writing to {topic}")

    def flush(self) -> list[tuple[int, int] | None]:
        """The first and last offset of what each `send` since the last flush sent; None of nothing."""
        with self._wire.vigil.over("writing"):
            left = self._do(lambda: self._client.flush(DELIVERY_SECONDS), "writing")
        if left:
            raise self._away(f"{left} messages were not taken")
        return self._spans()

    def commit(self) -> list[tuple[int, int] | None]:
        """Flush, and commit."""
        try:
            # However long it takes: what was asked of a broker that then went away may have been done.
            self._wait(self._client.commit_transaction, "committing", None)
        except LogError:
            # What a message met says more.
            self._spans()
            raise
        return self._spans()

    def _spans(self) -> list[tuple[int, int] | None]:
        sent, self._sent = self._sent, []
        for span in sent:
            if span.error is not None:
                raise self._translated(KafkaException(span.error), "writing")
        return [(span.first, span.last) if span.count else None for span in sent]

    def abort(self) -> None:
        self._sent = []
        self._wait(self._client.abort_transaction, "aborting", DELIVERY_SECONDS)

    def close(self) -> None:
        """Let go of the connection. An open transaction is left to the next owner, or to its time-out."""
        self._sent = []
        client, self._client = self._client, None
        if client is not None:
            client.purge()

    def _do(self, what: Callable[[], Any], doing: str) -> Any:
        try:
            return what()
        except SystemError as error:
            # Something was raised while a delivery was told of.
            cause = _raised_by_signal(error)
            if cause is not None:
                raise cause from error
            cause = error.__cause__
            raise self._translated(cause if isinstance(cause, KafkaException) else error, doing) from error
        except (KafkaException, RuntimeError, ValueError) as error:
            raise self._translated(error, doing) from error

    def _wait(self, what: Callable[[float], Any], doing: str, seconds: float | None) -> None:
        """Call it again while it says that trying again may help, for so many seconds, or for as long as it takes."""
        began = monotonic()
        told = False
        while True:
            try:
                what(SILENCE_SECONDS)
                break
            except SystemError as error:
                cause = _raised_by_signal(error)
                if cause is not None:
                    raise cause from error
                raise self._translated(error, doing) from error
            except KafkaException as error:
                code = error.args[0]
                if not (code.retriable() or code.code() in _AWAY) or code.fatal() or code.txn_requires_abort():
                    raise self._translated(error, doing) from error
                if seconds is not None and monotonic() - began > seconds:
                    raise self._away(str(code)) from error
                if not told and monotonic() - began >= SILENCE_SECONDS:
                    logger.warning("waiting for the broker at %s (%s): %s", self._wire.address.servers, doing, code)
                    told = True
        if told:
            logger.warning("the broker at %s is back after %.1f s", self._wire.address.servers, monotonic() - began)

    def _away(self, why: str) -> LogBusy:
        return LogBusy(
            f"No broker took the transaction within {DELIVERY_SECONDS:.0f} s ({why})",
            where=self._wire.address.shown,
            fix="Nothing of it is visible. See whether the brokers are up, and have enough replicas in sync.",
        )

    def _translated(self, error: Exception, doing: str) -> LogError:
        code = error.args[0] if isinstance(error, KafkaException) else None
        number = code.code() if isinstance(code, KafkaError) else None
        fatal = getattr(self._client, "fatal_error", lambda: None)() if self._client is not None else None
        if number in _FENCING or (number == KafkaError._FATAL and fatal is not None):
            return Fenced(
                "A newer owner of the task exists, or its transaction ran out of time; nothing was written",
                where=self.transactional_id,
                fix="Stop this task; its owner goes on from the last commit.",
            )
        if number in _TOO_LARGE:
            return LogError(
                "A message is larger than the broker takes",
                where=self.transactional_id,
                fix=f"Topics of ours take {LARGEST_MESSAGE >> 20} MiB: make rows or state smaller.",
            )
        if number in _AWAY:
            return self._away(str(code))
        return LogError(
            f"{code or error} while {doing}", where=self._wire.address.shown, fix="The broker's own log tells more."
        )


def _raised_by_signal(error: SystemError) -> BaseException | None:
    """What a signal raised in a callback, in the main thread. The client loses it or hides it behind its own error; our
    callbacks themselves raise nothing."""
    cause = error.__cause__
    if cause is None:
        return KeyboardInterrupt() if current_thread() is main_thread() else None
    return None if isinstance(cause, Exception) else cause
