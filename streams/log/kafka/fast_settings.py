"""What librdkafka calls the settings of an address."""

from __future__ import annotations

import logging
from typing import Any, Final

from streams.log.kafka.address import Address

_NAMES: Final = {
    "security_protocol": "security.protocol",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
    "ssl_crlfile": "ssl.crl.location",
    "ssl_ciphers": "ssl.cipher.suites",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "sasl_kerberos_service_name": "sasl.kerberos.service.name",
}


def fast_settings(address: Address) -> dict[str, Any]:
    """What every client of librdkafka is told."""
    told: dict[str, Any] = {
        "bootstrap.servers": address.servers,
        "client.id": "headwater",
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 1_000,
        "retry.backoff.ms": 5,
        "socket.timeout.ms": 15_000,
        # It tells every refused connection and would raise what a later call tells anyway; what matters is told by
        # who waits for it.
        "log_level": 0,
        "logger": _silent(),
        "error_cb": _told_later,
    }
    for name, value in address.security.items():
        if name == "ssl_check_hostname":
            told["ssl.endpoint.identification.algorithm"] = "https" if value else "none"
        elif name in _NAMES:
            told[_NAMES[name]] = value
    return told


def _silent() -> logging.Logger:
    found = logging.getLogger("headwater.librdkafka")
    found.setLevel(logging.CRITICAL + 1)
    return found


def _told_later(error: Any) -> None:
    return
