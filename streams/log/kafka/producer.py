"""Transactions of one task with kafka-python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kafka import KafkaProducer, TopicPartition
from kafka.errors import (
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    RecordListTooLargeError,
    UnknownProducerIdError,
)
from kafka.net.compat import KafkaNetClient

from streams.log.kafka.batches import Batches
from streams.log.kafka.topics import LARGEST_MESSAGE
from streams.log.kafka.wire import Place, Wire, client_settings, is_passing, refused
from streams.log.protocol import Fenced, LogBusy, LogError
from streams.message import Headers

#: A transaction that cannot be written for so long is given up.
DELIVERY_SECONDS: Final = 60.0

_FENCING = (
    ProducerFencedError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    UnknownProducerIdError,
)


class _Connections(KafkaNetClient):  # type: ignore[misc]
    """The client's connections. A broker that is away is not ready; that is no error.

    From the error the client would look for the transaction's coordinator anew, but never again send the request that
    was to go there: the transaction would hang until it is given up.
    """

    def await_ready(self, node_id: Any, timeout_ms: int = 30_000) -> bool:
        try:
            return bool(super().await_ready(node_id, timeout_ms=timeout_ms))
        except KafkaError as error:
            if not is_passing(error):
                raise
            return False


class Producer:
    """Sends the messages of a transaction as they come.

    Opening it ends the transaction of every earlier producer of the id and fences it; `topics` are those that it may
    write to. Its methods raise Fenced, LogBusy (the broker was away for too long) or LogError; then it is of no use any
    more, and what was not committed is gone.
    """

    def __init__(self, wire: Wire, transactional_id: str, topics: Sequence[str] = ()) -> None:
        self._wire = wire
        self._topics = topics
        self.transactional_id = transactional_id
        self._client = wire.patiently(self._open, doing=f"taking {transactional_id} over")
        self._batches = Batches(self._client)
        self._sent: list[tuple[Any, Any] | None] = []

    def _open(self) -> KafkaProducer:
        address = self._wire.address
        client = KafkaProducer(
            **client_settings(address),
            transactional_id=self.transactional_id,
            transaction_timeout_ms=round(address.transaction_timeout * 1_000),
            delivery_timeout_ms=round(DELIVERY_SECONDS * 1_000),
            max_block_ms=round(DELIVERY_SECONDS * 1_000),
            max_request_size=LARGEST_MESSAGE + (64 << 10),
            compression_type=address.compression_type,
            batch_size=256 << 10,
            metrics_enabled=False,
            bootstrap_timeout_ms=5_000,
            kafka_client=_Connections,
        )
        if self._topics:
            # Asked for at once and in time; it would ask for each when it first writes there, and wait.
            client._metadata.config["retry_backoff_ms"] = 5
            client._metadata.set_topics(self._topics)
        try:
            client.init_transactions()
        except BaseException:
            client.close(timeout=0)
            raise
        return client

    def begin(self, soon: Iterable[Place]) -> None:
        """Begin a transaction, which will write to these partitions too: they are added with its first."""

        def beginning() -> None:
            self._client.begin_transaction()
            for place in soon:
                self._client._transaction_manager.maybe_add_partition_to_transaction(TopicPartition(*place))

        self._do(beginning, "beginning a transaction")

    def send(
        self,
        place: Place,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Headers] | Headers,
    ) -> None:
        """Send messages to one partition, in order."""
        self._sent.append(
            self._do(lambda: self._batches.add(place, keys, values, headers), f"writing to {place.topic}")
        )

    def flush(self) -> list[tuple[int, int] | None]:
        """The first and last offset of what each `send` since the last flush sent; None of nothing."""

        def flushing() -> list[tuple[int, int] | None]:
            self._client.flush()
            return self._spans()

        with self._wire.vigil.over("writing"):
            return self._do(flushing, "writing")

    def commit(self) -> list[tuple[int, int] | None]:
        """Flush, and commit."""

        def committing() -> list[tuple[int, int] | None]:
            self._client.commit_transaction()
            return self._spans()

        with self._wire.vigil.over("writing" if self._sent else "committing"):
            return self._do(committing, "committing")

    def _spans(self) -> list[tuple[int, int] | None]:
        sent, self._sent = self._sent, []
        return [None if span is None else (span[0].get().offset, span[1].get().offset) for span in sent]

    def abort(self) -> None:
        self._sent = []
        with self._wire.vigil.over("aborting"):
            self._do(self._client.abort_transaction, "aborting")

    def close(self) -> None:
        """Let go of the connection. An open transaction is left to the next owner, or to its time-out."""
        self._sent = []
        try:
            self._client.close(timeout=0)
        except KafkaError:
            # Only what was to be dropped could not be sent.
            return

    def _do(self, what: Any, doing: str) -> Any:
        try:
            return what()
        except (KafkaError, ValueError, TypeError) as error:
            raise self._translated(error, doing) from error

    def _translated(self, error: Exception, doing: str) -> LogError:
        told = getattr(getattr(self._client, "_transaction_manager", None), "last_error", None)
        causes = [one for one in (error, told) if one is not None]
        if any(isinstance(one, _FENCING) for one in causes):
            return Fenced(
                "A newer owner of the task exists, or its transaction ran out of time; nothing was written",
                where=self.transactional_id,
                fix="Stop this task; its owner goes on from the last commit.",
            )
        if any(isinstance(one, (MessageSizeTooLargeError, RecordListTooLargeError)) for one in causes):
            return LogError(
                "A message is larger than the broker takes",
                where=self.transactional_id,
                fix=f"Topics of ours take {LARGEST_MESSAGE >> 20} MiB: make rows or state smaller.",
            )
        if any(is_passing(one) for one in causes):
            return LogBusy(
                f"No broker took the transaction within {DELIVERY_SECONDS:.0f} s ({causes[-1]})",
                where=self._wire.address.shown,
                fix="Nothing of it is visible. See whether the brokers are up, and have enough replicas in sync.",
            )
        return refused(self._wire.address, causes[-1], doing)
