"""A registry of other people's schemas: what the ids in front of their Avro messages stand for.

Read over HTTP as Confluent's Schema Registry is (https://docs.confluent.io/platform/current/schema-registry/develop/api.html);
nothing is ever written there. An id means the same for ever, so that each is asked for once a process.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final
from urllib.parse import quote

import fastavro

from catalog import NotRegistered
from streams.codecs.avro import schema_from_avro
from streams.log.protocol import LogBusy, LogError
from streams.schema import Schema

#: The environment's word on where the registry is, for machines that reach it under another address.
ADDRESS: Final = "HEADWATER_REGISTRY"
#: Who asks, as `user:password`.
USER: Final = "HEADWATER_REGISTRY_USER"

#: A registry that does not answer is asked again for so long.
PATIENCE: Final = 10.0
_TIMEOUT: Final = 5.0
_ACCEPTED: Final = "application/vnd.schemaregistry.v1+json, application/json"


class RegistryBusy(LogBusy):
    """The registry does not answer; what waits for it is still there."""


@dataclass(frozen=True)
class Written:
    """An Avro schema with which others write. `needs` are the schemas whose names it uses, each behind those that it
    uses itself."""

    avro: Any
    needs: tuple[Any, ...] = ()

    @cached_property
    def record(self) -> str:
        """The record's full name."""
        return str(self._expanded["name"])

    @cached_property
    def schema(self) -> Schema:
        """The schema of its rows. SchemaError for what a stream cannot carry."""
        return schema_from_avro(self._expanded)

    @cached_property
    def _expanded(self) -> Any:
        named: dict[str, Any] = {}
        for one in self.needs:
            fastavro.parse_schema(one, named, expand=True, _write_hint=False)
        return fastavro.parse_schema(self.avro, named, expand=True, _write_hint=False)


@cache
def written(registry: str, schema_id: int) -> Written:
    """The schema of this id in the registry at an address. NotRegistered if it is not there, or no Avro; RegistryBusy
    if the registry does not answer; LogError for an address or user that it does not take."""
    told = _asked(registry, f"/schemas/ids/{schema_id}")
    return Written(_avro(told, registry, f"schema {schema_id}"), _needs(told, registry))


def checked_address(given: str) -> str:
    """The address as streams have it. LogError for what is no address, or has a password in it."""
    address = given.rstrip("/")
    scheme, found, rest = address.partition("://")
    if scheme not in ("http", "https") or not found or not rest or "@" in rest:
        raise LogError(
            "This is not the address of a schema registry",
            where=address.rpartition("@")[2] or "no address",
            fix=f"Give http://host:port or https://…; user and password are read from {USER} (user:password).",
        )
    return address


def _needs(told: dict[str, Any], registry: str) -> tuple[Any, ...]:
    found: list[Any] = []
    for one in told.get("references") or ():
        path = f"/subjects/{quote(one['subject'], safe='')}/versions/{one['version']}"
        needed = _asked(registry, path)
        for schema in (*_needs(needed, registry), _avro(needed, registry, one["name"])):
            if schema not in found:
                found.append(schema)
    return tuple(found)


def _avro(told: dict[str, Any], registry: str, what: str) -> Any:
    kind = told.get("schemaType") or "AVRO"
    if kind != "AVRO":
        raise NotRegistered(
            f"The {what} is {kind}", where=registry, fix="Only topics of Avro messages can be read by a registry's ids."
        )
    return json.loads(told["schema"])


def _asked(registry: str, path: str) -> dict[str, Any]:
    address = checked_address(os.environ.get(ADDRESS) or registry)
    request = urllib.request.Request(address + path, headers={"Accept": _ACCEPTED})
    user = os.environ.get(USER)
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    until = time.monotonic() + PATIENCE
    pause = 0.05
    while True:
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            why: object = f"HTTP {error.code}"
            if error.code == 404:
                raise NotRegistered(
                    f"The registry does not know {path.removeprefix('/')}",
                    where=address,
                    fix=f"Is it the registry of whoever writes the topic? {ADDRESS} names another.",
                ) from error
            if error.code < 500 and error.code != 429:
                raise LogError(
                    f"The schema registry refused ({why})", where=address, fix=f"Give user:password in {USER}."
                ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = error
        if time.monotonic() >= until:
            raise RegistryBusy(
                f"The schema registry did not answer within {PATIENCE:.0f} s ({why})",
                where=address,
                fix=f"See whether it is up; {ADDRESS} names another address of it.",
            )
        time.sleep(pause)
        pause = min(2 * pause, 1.0)
