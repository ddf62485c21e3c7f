"""Brokers with the rules that docs/how-to/run-with-compose.md shows: nobody goes around registration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)
from kafka.errors import KafkaError, TopicAuthorizationFailedError

import headwater as hw
from streams.log import LogError
from tests.kafka_broker import Broker, free_port
from tests.services.kafka import started

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "run-with-compose.md"
USERS = ("hw", "gate", "dash")
SETTINGS = """authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
{users};
"""
RESOURCES = {
    "topic": ResourceType.TOPIC,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
    "group": ResourceType.GROUP,
}


@dataclass
class Report:
    airport: str
    at: datetime
    knots: float


def build() -> hw.Pipeline:
    p = hw.Pipeline("tower", owner="tower-team")
    reports = p.stream("reports", Report, key="airport", time="at", expect=[hw.between("knots", 0, 200)])
    p.clean(p.clean(reports, to="valid"), to="gusts")
    return p


def rules() -> Iterator[ACL]:
    """What the page's commands say."""
    for line in re.findall(r"^kafka-acls\.sh (.+)$", PAGE.read_text(), re.MULTILINE):
        words = iter(shlex.split(line))
        said = [(word.removeprefix("--"), next(words)) for word in words if word != "--add"]
        given = dict(said)
        kind = next(name for name in RESOURCES if name in given)
        matched = ACLResourcePatternType[given.get("resource-pattern-type", "literal").upper()]
        for name, operation in said:
            if name == "operation":
                yield ACL(
                    given["allow-principal"],
                    "*",
                    ACLOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
                    ACLPermissionType.ALLOW,
                    ResourcePattern(RESOURCES[kind], given[kind], matched),
                )


class Guarded:
    """A broker that lets users do only what the rules say."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        users = " ".join(f'user_{name}="{name}-secret"' for name in USERS)
        self.broker = Broker(
            folder / "broker", listeners={"SASL_PLAINTEXT": self._port}, settings=SETTINGS.format(users=users)
        )
        self.catalog = f"sqlite:///{folder / 'catalog.db'}"
        self._folder = folder

    def start(self) -> None:
        """With the rules, and with what is registered."""
        self.broker.start()
        self._grant()
        with self.hub("hw") as hub:
            hub.register(build())

    def stop(self) -> None:
        self.broker.stop()

    def _grant(self) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.broker.address)
        assert not admin.create_acls(list(rules()))["failed"]
        admin.close()

    def hub(self, user: str) -> hw.Hub:
        log = f"kafka://{user}:{user}-secret@127.0.0.1:{self._port}?security_protocol=SASL_PLAINTEXT&prefix=blue."
        return hw.connect(self._folder / user, log=log, catalog=self.catalog, service=user)

    def plain(self, user: str) -> dict[str, object]:
        """For a client that knows nothing of Headwater."""
        return {
            "bootstrap_servers": f"127.0.0.1:{self._port}",
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": user,
            "sasl_plain_password": f"{user}-secret",
        }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with started(lambda: Guarded(folder), otherwise="No Kafka to guard") as guarded:
        yield guarded


def test_a_service_publishes_and_the_workers_user_runs(guarded: Guarded) -> None:
    with guarded.hub("gate") as hub:
        hub.publish("tower.reports", [Report("JFK", datetime(2024, 1, 1, tzinfo=UTC), 41.0)])
    with guarded.hub("hw") as hub:
        hub.run(build(), until="caught-up")
    with guarded.hub("dash") as hub:
        assert [row["knots"] for row in hub.read("tower.gusts")] == [41.0]


def test_a_service_cannot_make_a_topic_by_registering(guarded: Guarded) -> None:
    p = hw.Pipeline("shadow", owner="gate")
    p.stream("side", Report, key="airport", time="at")
    with guarded.hub("gate") as hub, pytest.raises(LogError, match=r"(?i)authoriz|rights"):
        hub.register(p)


@pytest.mark.parametrize("topic", ["blue.unregistered", "loose", "blue.tower.valid"])
def test_a_producer_that_goes_around_is_refused_by_the_broker(guarded: Guarded, topic: str) -> None:
    producer = KafkaProducer(**guarded.plain("gate"), max_block_ms=5_000, enable_idempotence=False)
    with pytest.raises(KafkaError) as refused:
        producer.send(topic, b"{}").get(timeout=10)
    producer.close()
    assert isinstance(refused.value, TopicAuthorizationFailedError) or "uthoriz" in str(refused.value), refused.value


def test_a_reader_sees_what_it_was_let_see(guarded: Guarded) -> None:
    consumer = KafkaConsumer(**guarded.plain("dash"))
    assert consumer.topics() == {"blue.tower.gusts"}
    consumer.close()
