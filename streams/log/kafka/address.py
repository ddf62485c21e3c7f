"""The address of a Kafka cluster: `kafka://host:port,host:port?setting=value`, with what the clients are told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from streams.log.protocol import LogError

#: Who writes, by scheme: kafka-python, or librdkafka (the extra `fast`).
SCHEMES: Final = {"kafka": "python", "kafka+fast": "fast"}

#: Settings for TLS and SASL, which go to the client as they are.
SECURITY: Final = (
    "security_protocol",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_crlfile",
    "ssl_ciphers",
    "ssl_check_hostname",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_kerberos_name",
    "sasl_kerberos_service_name",
    "sasl_kerberos_domain_name",
)
_OWN: Final = ("prefix", "replication", "transaction_timeout", "compression_type")


@dataclass(frozen=True)
class Address:
    """Where a cluster is and how to talk to it.

    `servers` are host:port, comma-separated. `prefix` starts the name of every topic and transactional id of ours;
    `replication` is the number of copies of a new topic (-1: the broker's default); `transaction_timeout` (seconds) is
    how long a hung writer may hold readers up. `security` holds TLS and SASL settings under kafka-python's names.
    """

    servers: str
    client: str = "python"
    prefix: str = ""
    replication: int = -1
    transaction_timeout: float = 15.0
    compression_type: str | None = None
    security: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """The address without its settings, so without secrets."""
        return f"kafka://{self.servers}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """LogError, which names the setting, for what cannot be used. A setting whose name ends in `_from_file` is
        read from the file that it names; user and password may also stand before the hosts."""
        scheme, _, rest = url.partition("://")
        place, _, query = rest.partition("?")
        user, _, servers = place.rstrip("/").rpartition("@")
        shown = f"{scheme}://{servers}"
        if not servers or scheme not in SCHEMES:
            raise LogError("No broker is named", where=shown, fix="Use kafka://host:port or kafka://host1,host2.")
        given = dict(_read(name, value, shown) for name, value in parse_qsl(query, keep_blank_values=True))
        if user:
            name, _, password = user.partition(":")
            given |= {"sasl_plain_username": unquote(name), "sasl_plain_password": unquote(password)}
            given.setdefault("sasl_mechanism", "PLAIN")
            given.setdefault("security_protocol", "SASL_SSL")
        unknown = sorted(set(given) - {*SECURITY, *_OWN})
        if unknown:
            raise LogError(
                f"Unknown settings: {', '.join(unknown)}",
                where=shown,
                fix=f"The settings are {', '.join((*_OWN, *SECURITY))}; see docs/how-to/run-on-kafka.md.",
            )
        security: dict[str, Any] = {name: value for name, value in given.items() if name in SECURITY}
        if "ssl_check_hostname" in security:
            security["ssl_check_hostname"] = _flag("ssl_check_hostname", security["ssl_check_hostname"], shown)
        return cls(
            servers=servers,
            client=SCHEMES[scheme],
            prefix=given.get("prefix", ""),
            replication=int(_number("replication", given.get("replication", "-1"), shown)),
            transaction_timeout=_number("transaction_timeout", given.get("transaction_timeout", "15"), shown),
            compression_type=given.get("compression_type"),
            security=security,
        )


def _read(name: str, value: str, shown: str) -> tuple[str, str]:
    setting = name.removesuffix("_from_file")
    if setting == name:
        return name, value
    try:
        return setting, Path(value).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise LogError(
            f"The file for {setting} cannot be read ({error.strerror})",
            where=f"{shown}, {value}",
            fix="Check its path.",
        ) from error


def _number(name: str, value: str, shown: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise LogError(f"{name} is not a number: {value!r}", where=shown, fix="Give a number.") from error


def _flag(name: str, value: str, shown: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in known:
        raise LogError(f"{name} is neither true nor false: {value!r}", where=shown, fix="Give true or false.")
    return known[value.lower()]
