"""Where the group's broker is, in the words of Faust: from the log's own address."""

from __future__ import annotations

import ssl
from typing import Any

import faust
from yarl import URL

from streams.log.kafka.address import Address
from streams.log.protocol import LogError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


def broker(address: Address) -> list[URL]:
    """The servers of the address."""
    return [URL(f"kafka://{server}") for server in address.servers.split(",")]


def credentials(address: Address) -> Any:
    """The address's TLS and SASL settings as Faust's credentials; None without any. LogError for what Faust has no
    words for."""
    given = address.security
    protocol = given.get("security_protocol", "PLAINTEXT")
    if protocol not in _PROTOCOLS:
        raise LogError(
            f"security_protocol is {protocol!r}", where=address.shown, fix=f"Give one of {', '.join(_PROTOCOLS)}."
        )
    if protocol == "PLAINTEXT":
        return None
    context = _context(given) if protocol.endswith("SSL") else None
    if protocol == "SSL":
        return faust.SSLCredentials(context=context)
    mechanism = given.get("sasl_mechanism", "PLAIN")
    if mechanism == "GSSAPI":
        return faust.GSSAPICredentials(
            kerberos_service_name=given.get("sasl_kerberos_service_name", "kafka"),
            kerberos_domain_name=given.get("sasl_kerberos_domain_name"),
            ssl_context=context,
            mechanism=mechanism,
        )
    return faust.SASLCredentials(
        username=given.get("sasl_plain_username"),
        password=given.get("sasl_plain_password"),
        ssl_context=context,
        mechanism=mechanism,
    )


def _context(given: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=given.get("ssl_cafile"))
    if given.get("ssl_crlfile"):
        context.load_verify_locations(given["ssl_crlfile"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if given.get("ssl_certfile"):
        context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"), given.get("ssl_password"))
    if given.get("ssl_ciphers"):
        context.set_ciphers(given["ssl_ciphers"])
    context.check_hostname = given.get("ssl_check_hostname", True)
    return context
