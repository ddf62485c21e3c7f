"""What a stream is: its declaration, made once in Python or in a contract file, before anything flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from catalog.specs import Codec, Kind, Role
from streams.schema import Schema

if TYPE_CHECKING:
    from streams.contract import Rule


#: The tag of a stream whose topic others made and own: it is read as it is, and never made or compared as ours are.
ADOPTED: Final = "adopted"
#: Begins the tag that says in which registry the schemas of an adopted stream's Avro messages are.
REGISTRY: Final = "registry="


@dataclass(frozen=True)
class Stream:
    """A named, partitioned, append-only sequence of rows with a schema.

    `key` names the fields whose value chooses a row's partition (none: rows go round by batch); `time` names the
    field with the event time, a UTC timestamp (none: the rows hold always). `lateness` and `retention` are
    in microseconds; `retention` None keeps rows for ever. `entities` says what a field identifies
    (`{"tailnum": "aircraft"}`). `addresses` names columns that hold row addresses or other facts of one run:
    digests leave them out. A `table` is a stream of which only the latest row of a key counts.
    """

    name: str
    schema: Schema
    key: tuple[str, ...] = ()
    time: str | None = None
    kind: Kind = "stream"
    codec: Codec = "arrow"
    partitions: int = 4
    entities: Mapping[str, str] = field(default_factory=dict)
    expect: tuple[Rule, ...] = ()
    owner: str = ""
    description: str = ""
    lateness: int = 0
    retention: int | None = None
    tags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    role: Role = "data"

    @property
    def row_coded(self) -> bool:
        """True if one message is one row (avro, json), False if one message is a record batch (arrow)."""
        return self.codec != "arrow"

    @property
    def adopted(self) -> bool:
        """True if the topic is of other people's making."""
        return ADOPTED in self.tags

    @property
    def registry(self) -> str:
        """The address of the registry that the schema ids in its messages are of; "" for those of the catalog."""
        found = (tag.removeprefix(REGISTRY) for tag in self.tags if tag.startswith(REGISTRY))
        return next(found, "") if self.adopted and self.codec == "avro" else ""
