"""Why a cluster cannot be connected to, in plain words: nobody is there, TLS does not fit, the user is unknown."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Final

from streams.log.kafka.address import Address
from streams.log.protocol import LogError

#: Looking for the reason takes so many seconds at most, on top of what the client took to give up.
PROBE_SECONDS: Final = 1.0

_FILES: Final = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile")


def check_files(address: Address) -> None:
    """LogError if a file that the address names cannot be read: the client would say only that nobody answers."""
    for setting in _FILES:
        name = address.security.get(setting)
        try:
            if name is not None:
                with Path(name).open("rb"):
                    pass
        except OSError as error:
            raise LogError(
                f"The file of {setting} cannot be read ({error.strerror})",
                where=f"{address.shown}, {name}",
                fix="Check its path and rights.",
            ) from error


def unreachable(address: Address, said: str) -> LogError:
    """The error for a cluster that could not be connected to; `said` is what the client made of it."""
    found = [_looked_at(address, server) for server in address.servers.split(",")]
    # One broker that listens says more than others that are down.
    what, fix = min(found, key=lambda one: one[0].startswith("No broker"))
    return LogError(f"{what} ({said})", where=address.shown, fix=fix)


def _looked_at(address: Address, server: str) -> tuple[str, str]:
    """What is wrong with one server, and what to do."""
    protocol = address.security.get("security_protocol", "PLAINTEXT")
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        return "No broker answers", "Write each server as host:port."
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS) as connection:
            if "SSL" in protocol:
                _shake_hands(address, connection, host)
    except ssl.SSLCertVerificationError as error:
        return (
            f"The broker's certificate is not trusted: {error.verify_message}",
            "Name the certificate of its authority in ssl_cafile; the host has to be one that the certificate names.",
        )
    except (ssl.SSLError, ConnectionResetError, TimeoutError) as error:
        if isinstance(error, ssl.SSLError) or "SSL" in protocol:
            return (
                f"A broker listens, but TLS with it fails: {error}",
                "Check security_protocol and port: the listener may be one without TLS; and ssl_certfile, ssl_keyfile.",
            )
        return "No broker answers", "Start it, or check host, port and listeners."
    except OSError as error:
        return f"No broker answers: {error.strerror or error}", "Start it, or check host, port and listeners."
    if protocol.startswith("SASL"):
        return "A broker listens, but lets us not in", "Check sasl_mechanism, user and password."
    if protocol == "SSL":
        return (
            "A broker listens, but lets us not in",
            "Check ssl_certfile and ssl_keyfile: it may ask for them.",
        )
    return (
        "Something listens, but does not answer as a broker without TLS and SASL",
        "A listener with TLS or SASL needs security_protocol.",
    )


def _shake_hands(address: Address, connection: socket.socket, host: str) -> None:
    told = address.security
    context = ssl.create_default_context(cafile=told.get("ssl_cafile"))
    context.check_hostname = told.get("ssl_check_hostname", True)
    if "ssl_certfile" in told:
        context.load_cert_chain(told["ssl_certfile"], told.get("ssl_keyfile"), told.get("ssl_password"))
    with context.wrap_socket(connection, server_hostname=host.strip("[]")):
        pass
