"""The address of a cluster: what may stand in it, and what of it is shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from streams.log import LogError, open_log, without_secrets
from streams.log.kafka.address import Address


def test_servers_and_settings_are_read() -> None:
    address = Address.parse("kafka://a:9092,b:9093?prefix=blue.&replication=3&transaction_timeout=20")
    assert address.servers == "a:9092,b:9093"
    assert (address.prefix, address.replication, address.transaction_timeout) == ("blue.", 3, 20.0)
    assert address.security == {}


def test_settings_for_tls_and_sasl_go_to_the_client_as_they_are() -> None:
    address = Address.parse(
        "kafka://a:9092?security_protocol=SASL_SSL&sasl_mechanism=SCRAM-SHA-512&sasl_plain_username=u"
        "&sasl_plain_password=p%26w&ssl_cafile=/ca.pem&ssl_check_hostname=false"
    )
    assert address.security == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p&w",
        "ssl_cafile": "/ca.pem",
        "ssl_check_hostname": False,
    }


def test_a_user_before_the_hosts_means_sasl_over_tls() -> None:
    assert Address.parse("kafka://me:s%40cret@a:9092").security == {
        "sasl_plain_username": "me",
        "sasl_plain_password": "s@cret",
        "sasl_mechanism": "PLAIN",
        "security_protocol": "SASL_SSL",
    }


def test_a_password_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pass\n")
    address = Address.parse(f"kafka://a:9092?sasl_plain_password_from_file={tmp_path / 'secret'}")
    assert address.security["sasl_plain_password"] == "pass"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://", "No broker is named"),
        ("kafka://a:1?colour=red", "colour"),
        ("kafka://a:1?replication=many", "replication"),
        ("kafka://a:1?ssl_check_hostname=perhaps", "perhaps"),
        ("kafka://a:1?ssl_password_from_file=/nowhere/at/all", "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(url: str, said: str) -> None:
    with pytest.raises(LogError, match=said):
        Address.parse(url)


def test_passwords_are_not_shown() -> None:
    url = "kafka://me:secret1@a:9092?ssl_password=secret2&sasl_plain_password=secret3&prefix=p."
    shown = without_secrets(url)
    assert "secret" not in shown
    assert shown == "kafka://me@a:9092?ssl_password=…&sasl_plain_password=…&prefix=p."
    assert "secret" not in repr(Address.parse(url))
    assert "secret" not in Address.parse(url).shown


def test_another_scheme_is_refused_without_its_password() -> None:
    with pytest.raises(LogError, match="kafkaesque"):
        open_log("kafkaesque://me:secret@a")


def test_without_its_client_the_log_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("streams.log.kafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kafka", None)
    with pytest.raises(LogError, match=re.escape("pip install 'headwater[kafka]'")) as told:
        open_log("kafka://me:secret@a:9092")
    assert "secret" not in str(told.value)


def test_without_the_faster_client_its_scheme_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "streams.log.kafka.fast_producer", raising=False)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(LogError, match=re.escape("pip install 'headwater[fast]'")):
        open_log("kafka+fast://a:9092")
