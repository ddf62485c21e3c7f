"""The address of a log as it may be shown: without its passwords."""

from __future__ import annotations

from typing import Final

_SECRET: Final = ("ssl_password", "sasl_plain_password")


def without_secrets(url: str) -> str:
    """The URL of a log with its passwords left out."""
    scheme, separator, rest = url.partition("://")
    if not scheme.startswith("kafka"):
        return url
    place, question, query = rest.partition("?")
    parts = []
    for part in query.split("&"):
        name = part.partition("=")[0]
        parts.append(f"{name}=…" if name in _SECRET else part)
    user, at, servers = place.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{servers}{question}{'&'.join(parts)}"
