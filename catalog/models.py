"""The catalog's tables. Migrations make them; nothing here touches a database.

Streams, fields, operators, services, datasets and pipelines share the integer ids of `node`, so that one `edge` table
holds all lineage.
Ids are given out under the writers' lock (see database.py), never by the database.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _name(length: int) -> TypeEngine[str]:
    """Short text, in the order of its code points on every database."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


#: One row: the number and time of the latest change. Whoever writes to the catalog updates it first.
applied = Table(
    "applied",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("change", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

#: Changes that wait to be appended to the stream `headwater.catalog`.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("body", JSON, nullable=False),
)

node = Table(
    "node",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kind", _name(16), nullable=False),
    Column("name", _name(400), nullable=False),
    Column("field", _name(400), nullable=False),
    UniqueConstraint("kind", "name", "field"),
)

entity = Table(
    "entity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", _name(200), nullable=False, unique=True),
    Column("description", Text, nullable=False),
)

synonym = Table(
    "synonym",
    metadata,
    Column("entity_id", ForeignKey("entity.id"), primary_key=True),
    Column("word", _name(200), primary_key=True),
)

schema_text = Table(
    "schema_text",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("fingerprint", _name(200), nullable=False, unique=True),
    Column("text", Text, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
)

#: `declared` is the spec as last registered: a later registration changes only what its author changed.
stream = Table(
    "stream",
    metadata,
    Column("id", ForeignKey("node.id"), primary_key=True, autoincrement=False),
    Column("name", _name(400), nullable=False, unique=True),
    Column("kind", _name(16), nullable=False),
    Column("role", _name(16), nullable=False, index=True),
    Column("codec", _name(16), nullable=False),
    Column("partitions", Integer, nullable=False),
    Column("key", JSON, nullable=False),
    Column("time", _name(400)),
    Column("lateness", BigInteger, nullable=False),
    Column("retention", BigInteger),
    Column("owner", _name(200), nullable=False, index=True),
    Column("description", Text, nullable=False),
    Column("addresses", JSON, nullable=False),
    Column("pipeline", _name(400), index=True),
    Column("schema_id", ForeignKey("schema_text.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("contract_version", Integer, nullable=False),
    Column("declared", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

schema_version = Table(
    "schema_version",
    metadata,
    Column("stream_id", ForeignKey("stream.id"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("schema_id", ForeignKey("schema_text.id"), nullable=False),
    Column("registered_at", BigInteger, nullable=False),
)

contract = Table(
    "contract",
    metadata,
    Column("stream_id", ForeignKey("stream.id"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("rules", JSON, nullable=False),
    Column("document", Text),
    Column("registered_at", BigInteger, nullable=False),
)

field = Table(
    "field",
    metadata,
    Column("id", ForeignKey("node.id"), primary_key=True, autoincrement=False),
    Column("stream_id", ForeignKey("stream.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", _name(400), nullable=False),
    Column("type", Text, nullable=False),
    Column("nullable", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    Column("entity_id", ForeignKey("entity.id"), index=True),
    UniqueConstraint("stream_id", "name"),
)

#: On streams and on fields.
tag = Table(
    "tag",
    metadata,
    Column("node_id", ForeignKey("node.id"), primary_key=True),
    Column("name", _name(200), primary_key=True),
    Index(None, "name"),
)

pipeline = Table(
    "pipeline",
    metadata,
    Column("id", ForeignKey("node.id"), primary_key=True, autoincrement=False),
    Column("name", _name(400), nullable=False, unique=True),
    Column("owner", _name(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

operator = Table(
    "operator",
    metadata,
    Column("id", ForeignKey("node.id"), primary_key=True, autoincrement=False),
    Column("name", _name(400), nullable=False, unique=True),
    Column("pipeline", _name(400), index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
)

#: What an operator said of itself, and when that was so.
declaration = Table(
    "declaration",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("operator_id", ForeignKey("operator.id"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("version", _name(200), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_to", BigInteger),
    UniqueConstraint("operator_id", "ordinal"),
)

#: The one operator that writes a stream now.
writer = Table(
    "writer",
    metadata,
    Column("stream_id", ForeignKey("stream.id"), primary_key=True, autoincrement=False),
    Column("operator_id", ForeignKey("operator.id"), nullable=False, index=True),
)

edge = Table(
    "edge",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("source", ForeignKey("node.id"), nullable=False),
    Column("target", ForeignKey("node.id"), nullable=False),
    Column("via", ForeignKey("node.id")),
    Column("level", _name(8), nullable=False),
    Column("evidence", _name(8), nullable=False),
    Column("coarse", Boolean, nullable=False),
    Column("declaration_id", ForeignKey("declaration.id"), index=True),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_to", BigInteger),
    Column("seen_at", BigInteger),
    Index(None, "source", "level"),
    Index(None, "target", "level"),
)

dataset = Table(
    "dataset",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("node_id", ForeignKey("node.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("query", JSON, nullable=False),
    Column("manifest", JSON, nullable=False),
    Column("digest", _name(200), nullable=False),
    Column("streams", JSON, nullable=False),
    Column("expires", BigInteger),
    Column("kept", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("node_id", "version"),
)

run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("run", _name(200), nullable=False),
    Column("operator_id", ForeignKey("node.id"), nullable=False),
    Column("version", _name(200), nullable=False),
    Column("engine", _name(50), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger, nullable=False),
    UniqueConstraint("run", "operator_id"),
    Index(None, "operator_id", "started_at"),
    Index(None, "started_at"),
)

#: `direction` is in, out or late.
run_rows = Table(
    "run_rows",
    metadata,
    Column("run_id", ForeignKey("run.id"), primary_key=True),
    Column("direction", _name(8), primary_key=True),
    Column("stream_id", ForeignKey("node.id"), primary_key=True),
    Column("rows", BigInteger, nullable=False),
)

#: `direction` is took or made.
run_range = Table(
    "run_range",
    metadata,
    Column("run_id", ForeignKey("run.id"), primary_key=True),
    Column("direction", _name(8), primary_key=True),
    Column("stream_id", ForeignKey("node.id"), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
)

transactions = Table(
    "transactions",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    Column("task", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("version", _name(200), nullable=False),
    Column("engine", _name(50), nullable=False),
    Column("at", BigInteger, nullable=False),
)

#: `direction` is took, made or parent; a parent span also says which output it is a parent of.
span = Table(
    "span",
    metadata,
    Column("transaction_id", ForeignKey("transactions.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("direction", _name(8), nullable=False),
    Column("stream_id", ForeignKey("node.id"), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    Column("made_stream_id", ForeignKey("node.id")),
    Column("made_partition", Integer),
    Index(None, "stream_id", "partition", "direction", "first", "end"),
)

#: The longest span of a partition: an intersection query need look no further back than that.
reach = Table(
    "reach",
    metadata,
    Column("stream_id", ForeignKey("node.id"), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("direction", _name(8), primary_key=True),
    Column("longest", BigInteger, nullable=False),
)

freshness = Table(
    "freshness",
    metadata,
    Column("stream_id", ForeignKey("node.id"), primary_key=True, autoincrement=False),
    Column("appended_at", BigInteger),
    Column("rows", BigInteger, nullable=False),
    Column("watermark", BigInteger),
)

#: How far each partition of each progress topic has been applied.
position = Table(
    "position",
    metadata,
    Column("topic", _name(400), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False),
)
