"""The Kafka log (extra `kafka`): streams as topics of a Kafka cluster, exactly once."""

from __future__ import annotations

from streams.log.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
