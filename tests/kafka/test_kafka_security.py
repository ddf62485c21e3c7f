"""Brokers that ask for TLS, a certificate, or a user and password; and what is said when that does not fit."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

import headwater as hw
from streams.log import LogError, Topic, open_log
from tests.faults.conftest import Plant, readings
from tests.kafka_broker import Broker, free_port
from tests.services.kafka import started

PASSWORD = "s@cret & more"
SETTINGS = """ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/client-cert.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_app="{password}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class Secure:
    """A broker with three listeners, and the certificates that it and its clients have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("broker", "client", "stranger"):
            _certificate(folder, name)
        both = (folder / "broker-key.pem").read_text() + (folder / "broker-cert.pem").read_text()
        (folder / "broker.pem").write_text(both)
        self.ports = {"SSL": free_port(), "SASL_SSL": free_port()}
        self.broker = Broker(
            folder / "data",
            listeners=self.ports,
            settings=SETTINGS.format(folder=folder, password=PASSWORD),
            users={"scram-app": "scram-secret"},
        )

    def start(self) -> None:
        self.broker.start()

    def stop(self) -> None:
        self.broker.stop()

    def url(self, way: str, scheme: str = "kafka", **changes: str) -> str:
        """The address for one of the ways in, with a prefix of its own; `changes` are settings given otherwise."""
        trust = {"ssl_cafile": f"{self.folder}/broker-cert.pem", "prefix": f"test-{uuid4().hex[:10]}."}
        user = ""
        if way == "certificate":
            own = {"ssl_certfile": f"{self.folder}/client-cert.pem", "ssl_keyfile": f"{self.folder}/client-key.pem"}
            settings = {"security_protocol": "SSL", **own}
        elif way == "plain":
            user, settings = f"app:{quote(PASSWORD, safe='')}@", {}
        else:
            settings = {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": "scram-app",
                "sasl_plain_password": "scram-secret",
            }
        port = self.ports["SSL" if way == "certificate" else "SASL_SSL"]
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in {**settings, **trust, **changes}.items())
        return f"{scheme}://{user}127.0.0.1:{port}?{query}"


def _certificate(folder: Path, name: str) -> None:
    """A self-signed certificate for 127.0.0.1 and its key."""
    files = ["-keyout", str(folder / f"{name}-key.pem"), "-out", str(folder / f"{name}-cert.pem")]
    about = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *about]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("secure")
    with started(lambda: Secure(folder), otherwise="No Kafka with TLS to test with") as secure:
        yield secure


@pytest.mark.parametrize("scheme", ["kafka", "kafka+fast"])
@pytest.mark.parametrize("way", ["certificate", "plain", "scram"])
def test_what_was_written_is_read(secure: Secure, way: str, scheme: str) -> None:
    log = open_log(secure.url(way, scheme))
    log.create([Topic("t", 1)])
    writer = log.writer("task/0")
    writer.append("t", 0, [b"key"], [b"value"], (("name", b"header"),))
    writer.commit()
    assert log.read("t", 0, 0).values == (b"value",)
    assert log.leases is not None
    assert log.leases.claim("task/0", "me", 5)
    log.close()


def test_a_job_runs_over_sasl_and_tls(secure: Secure, tmp_path: Path) -> None:
    plant = Plant(tmp_path / "embedded")
    pipeline = plant.pipeline()
    plant.hub.close()
    with hw.connect(tmp_path / "plant", log=secure.url("scram")) as hub:
        hub.register(pipeline)
        hub.publish("plant.readings", readings(200, 3))
        hub.run(pipeline, until="caught-up", workers=2)
        assert sorted(row["fahrenheit"] for row in hub.read("plant.warm")) == [68.0, 68.18, 68.36]


@pytest.mark.parametrize(
    ("way", "changes", "said"),
    [
        ("scram", {"sasl_plain_password": "wrong-secret"}, "lets us not in.*Check sasl_mechanism, user and password"),
        ("scram", {"ssl_cafile": "{folder}/stranger-cert.pem"}, "not trusted.*ssl_cafile"),
        ("scram", {"security_protocol": "PLAINTEXT"}, "security_protocol"),
        ("certificate", {"ssl_cafile": "/nowhere/ca.pem"}, "ssl_cafile cannot be read.*/nowhere/ca.pem"),
        (
            "certificate",
            {"ssl_certfile": "{folder}/stranger-cert.pem", "ssl_keyfile": "{folder}/stranger-key.pem"},
            "Check ssl_certfile",
        ),
    ],
    ids=["password", "another authority", "no TLS", "missing file", "unknown certificate"],
)
def test_what_does_not_fit_is_said_within_ten_seconds(
    secure: Secure, way: str, changes: dict[str, str], said: str
) -> None:
    given = {name: value.format(folder=secure.folder) for name, value in changes.items()}
    began = time.monotonic()
    with pytest.raises(LogError, match=said) as told:
        open_log(secure.url(way, **given))
    assert time.monotonic() - began < 10
    assert "secret" not in str(told.value)
