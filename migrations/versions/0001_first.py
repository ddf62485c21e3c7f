"""The catalog as it first was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "applied",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applied")),
    )
    op.create_table(
        "entity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", _name(200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entity")),
        sa.UniqueConstraint("name", name=op.f("uq_entity_name")),
    )
    op.create_table(
        "node",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", _name(16), nullable=False),
        sa.Column("name", _name(400), nullable=False),
        sa.Column("field", _name(400), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node")),
        sa.UniqueConstraint("kind", "name", "field", name=op.f("uq_node_kind_name_field")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "position",
        sa.Column("topic", _name(400), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_position")),
    )
    op.create_table(
        "schema_text",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", _name(200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schema_text")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_schema_text_fingerprint")),
    )
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("digest", _name(200), nullable=False),
        sa.Column("streams", sa.JSON(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_dataset_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint("node_id", "version", name=op.f("uq_dataset_node_id_version")),
    )
    op.create_table(
        "freshness",
        sa.Column("stream_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("appended_at", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("watermark", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["stream_id"], ["node.id"], name=op.f("fk_freshness_stream_id")),
        sa.PrimaryKeyConstraint("stream_id", name=op.f("pk_freshness")),
    )
    op.create_table(
        "operator",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", _name(400), nullable=False),
        sa.Column("pipeline", _name(400), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["node.id"], name=op.f("fk_operator_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator")),
        sa.UniqueConstraint("name", name=op.f("uq_operator_name")),
    )
    op.create_index(op.f("ix_operator_pipeline"), "operator", ["pipeline"], unique=False)
    op.create_table(
        "pipeline",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", _name(400), nullable=False),
        sa.Column("owner", _name(200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["node.id"], name=op.f("fk_pipeline_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline")),
        sa.UniqueConstraint("name", name=op.f("uq_pipeline_name")),
    )
    op.create_table(
        "reach",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("direction", _name(8), nullable=False),
        sa.Column("longest", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["stream_id"], ["node.id"], name=op.f("fk_reach_stream_id")),
        sa.PrimaryKeyConstraint("stream_id", "partition", "direction", name=op.f("pk_reach")),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run", _name(200), nullable=False),
        sa.Column("operator_id", sa.Integer(), nullable=False),
        sa.Column("version", _name(200), nullable=False),
        sa.Column("engine", _name(50), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["node.id"], name=op.f("fk_run_operator_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("run", "operator_id", name=op.f("uq_run_run_operator_id")),
    )
    op.create_index(op.f("ix_run_operator_id_started_at"), "run", ["operator_id", "started_at"], unique=False)
    op.create_index(op.f("ix_run_started_at"), "run", ["started_at"], unique=False)
    op.create_table(
        "stream",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", _name(400), nullable=False),
        sa.Column("kind", _name(16), nullable=False),
        sa.Column("role", _name(16), nullable=False),
        sa.Column("codec", _name(16), nullable=False),
        sa.Column("partitions", sa.Integer(), nullable=False),
        sa.Column("key", sa.JSON(), nullable=False),
        sa.Column("time", _name(400), nullable=True),
        sa.Column("lateness", sa.BigInteger(), nullable=False),
        sa.Column("retention", sa.BigInteger(), nullable=True),
        sa.Column("owner", _name(200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("addresses", sa.JSON(), nullable=False),
        sa.Column("pipeline", _name(400), nullable=True),
        sa.Column("schema_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("contract_version", sa.Integer(), nullable=False),
        sa.Column("declared", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["node.id"], name=op.f("fk_stream_id")),
        sa.ForeignKeyConstraint(["schema_id"], ["schema_text.id"], name=op.f("fk_stream_schema_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stream")),
        sa.UniqueConstraint("name", name=op.f("uq_stream_name")),
    )
    op.create_index(op.f("ix_stream_owner"), "stream", ["owner"], unique=False)
    op.create_index(op.f("ix_stream_pipeline"), "stream", ["pipeline"], unique=False)
    op.create_index(op.f("ix_stream_role"), "stream", ["role"], unique=False)
    op.create_table(
        "synonym",
        sa.Column("entity_id", sa.Integer(), nullable=False),
        sa.Column("word", _name(200), nullable=False),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name=op.f("fk_synonym_entity_id")),
        sa.PrimaryKeyConstraint("entity_id", "word", name=op.f("pk_synonym")),
    )
    op.create_table(
        "tag",
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("name", _name(200), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_tag_node_id")),
        sa.PrimaryKeyConstraint("node_id", "name", name=op.f("pk_tag")),
    )
    op.create_index(op.f("ix_tag_name"), "tag", ["name"], unique=False)
    op.create_table(
        "contract",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name=op.f("fk_contract_stream_id")),
        sa.PrimaryKeyConstraint("stream_id", "version", name=op.f("pk_contract")),
    )
    op.create_table(
        "declaration",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("operator_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("version", _name(200), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["operator_id"], ["operator.id"], name=op.f("fk_declaration_operator_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_declaration")),
        sa.UniqueConstraint("operator_id", "ordinal", name=op.f("uq_declaration_operator_id_ordinal")),
    )
    op.create_table(
        "field",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", _name(400), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("nullable", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name=op.f("fk_field_entity_id")),
        sa.ForeignKeyConstraint(["id"], ["node.id"], name=op.f("fk_field_id")),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name=op.f("fk_field_stream_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_field")),
        sa.UniqueConstraint("stream_id", "name", name=op.f("uq_field_stream_id_name")),
    )
    op.create_index(op.f("ix_field_entity_id"), "field", ["entity_id"], unique=False)
    op.create_table(
        "run_range",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("direction", _name(8), nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_range_run_id")),
        sa.ForeignKeyConstraint(["stream_id"], ["node.id"], name=op.f("fk_run_range_stream_id")),
        sa.PrimaryKeyConstraint("run_id", "direction", "stream_id", "partition", name=op.f("pk_run_range")),
    )
    op.create_table(
        "run_rows",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("direction", _name(8), nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_rows_run_id")),
        sa.ForeignKeyConstraint(["stream_id"], ["node.id"], name=op.f("fk_run_rows_stream_id")),
        sa.PrimaryKeyConstraint("run_id", "direction", "stream_id", name=op.f("pk_run_rows")),
    )
    op.create_table(
        "schema_version",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("schema_id", sa.Integer(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["schema_id"], ["schema_text.id"], name=op.f("fk_schema_version_schema_id")),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name=op.f("fk_schema_version_stream_id")),
        sa.PrimaryKeyConstraint("stream_id", "version", name=op.f("pk_schema_version")),
    )
    op.create_table(
        "transactions",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("task", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("version", _name(200), nullable=False),
        sa.Column("engine", _name(50), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_transactions_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
    )
    op.create_table(
        "writer",
        sa.Column("stream_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("operator_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operator.id"], name=op.f("fk_writer_operator_id")),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name=op.f("fk_writer_stream_id")),
        sa.PrimaryKeyConstraint("stream_id", name=op.f("pk_writer")),
    )
    op.create_index(op.f("ix_writer_operator_id"), "writer", ["operator_id"], unique=False)
    op.create_table(
        "edge",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Integer(), nullable=False),
        sa.Column("target", sa.Integer(), nullable=False),
        sa.Column("via", sa.Integer(), nullable=True),
        sa.Column("level", _name(8), nullable=False),
        sa.Column("evidence", _name(8), nullable=False),
        sa.Column("coarse", sa.Boolean(), nullable=False),
        sa.Column("declaration_id", sa.Integer(), nullable=True),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["declaration_id"], ["declaration.id"], name=op.f("fk_edge_declaration_id")),
        sa.ForeignKeyConstraint(["source"], ["node.id"], name=op.f("fk_edge_source")),
        sa.ForeignKeyConstraint(["target"], ["node.id"], name=op.f("fk_edge_target")),
        sa.ForeignKeyConstraint(["via"], ["node.id"], name=op.f("fk_edge_via")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edge")),
    )
    op.create_index(op.f("ix_edge_declaration_id"), "edge", ["declaration_id"], unique=False)
    op.create_index(op.f("ix_edge_source_level"), "edge", ["source", "level"], unique=False)
    op.create_index(op.f("ix_edge_target_level"), "edge", ["target", "level"], unique=False)
    op.create_table(
        "span",
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("direction", _name(8), nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column("made_stream_id", sa.Integer(), nullable=True),
        sa.Column("made_partition", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["made_stream_id"], ["node.id"], name=op.f("fk_span_made_stream_id")),
        sa.ForeignKeyConstraint(["stream_id"], ["node.id"], name=op.f("fk_span_stream_id")),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name=op.f("fk_span_transaction_id")),
        sa.PrimaryKeyConstraint("transaction_id", "number", name=op.f("pk_span")),
    )
    op.create_index(
        op.f("ix_span_stream_id_partition_direction_first_end"),
        "span",
        ["stream_id", "partition", "direction", "first", "end"],
        unique=False,
    )
    op.execute("INSERT INTO applied (id, change, at) VALUES (1, 0, 0)")
    _create_search()


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE search_word")
    op.execute("DROP TABLE search")
    op.drop_index(op.f("ix_span_stream_id_partition_direction_first_end"), table_name="span")
    op.drop_table("span")
    op.drop_index(op.f("ix_edge_target_level"), table_name="edge")
    op.drop_index(op.f("ix_edge_source_level"), table_name="edge")
    op.drop_index(op.f("ix_edge_declaration_id"), table_name="edge")
    op.drop_table("edge")
    op.drop_index(op.f("ix_writer_operator_id"), table_name="writer")
    op.drop_table("writer")
    op.drop_table("transactions")
    op.drop_table("schema_version")
    op.drop_table("run_rows")
    op.drop_table("run_range")
    op.drop_index(op.f("ix_field_entity_id"), table_name="field")
    op.drop_table("field")
    op.drop_table("declaration")
    op.drop_table("contract")
    op.drop_index(op.f("ix_tag_name"), table_name="tag")
    op.drop_table("tag")
    op.drop_table("synonym")
    op.drop_index(op.f("ix_stream_role"), table_name="stream")
    op.drop_index(op.f("ix_stream_pipeline"), table_name="stream")
    op.drop_index(op.f("ix_stream_owner"), table_name="stream")
    op.drop_table("stream")
    op.drop_index(op.f("ix_run_started_at"), table_name="run")
    op.drop_index(op.f("ix_run_operator_id_started_at"), table_name="run")
    op.drop_table("run")
    op.drop_table("reach")
    op.drop_table("pipeline")
    op.drop_index(op.f("ix_operator_pipeline"), table_name="operator")
    op.drop_table("operator")
    op.drop_table("freshness")
    op.drop_table("dataset")
    op.drop_table("schema_text")
    op.drop_table("position")
    op.drop_table("outbox")
    op.drop_table("node")
    op.drop_table("entity")
    op.drop_table("applied")


def _create_search() -> None:
    # Full text is the one thing that each database does in its own way; see catalog/fulltext.py.
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE search USING fts5("
            "name, entities, fields, description, about, tokenize = 'porter unicode61')"
        )
        op.execute("CREATE VIRTUAL TABLE search_word USING fts5vocab('search', 'row')")
    else:
        op.execute(
            "CREATE TABLE search (node_id integer NOT NULL, place smallint NOT NULL, body text NOT NULL, "
            "stems tsvector NOT NULL, document_size integer NOT NULL, PRIMARY KEY (node_id, place))"
        )
        op.execute("CREATE INDEX search_stems ON search USING gin (stems)")


def _name(length: int) -> sa.types.TypeEngine[str]:
    # Names are sorted by code points on every database.
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
