"""The model stream: what a trainer says about its models, one message after the other, and the stream in which a
person overrules it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from operators.model.artefact import Artefact, encode, manifest_text
from operators.model.learner import Class
from streams.schema import Schema
from streams.stream import Stream

Event = Literal["checkpoint", "promoted", "rolled_back", "retired"]
ModelRole = Literal["champion", "challenger"]

#: Bytes of content in one message.
CHUNK: Final = 512 << 10
_TIME: Final = pa.timestamp("us", "UTC")


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


MODEL_SCHEMA: Final = pa.schema(
    [
        _required("model", pa.string()),
        _required("version", pa.int64()),
        _required("at", _TIME),
        _required("event", pa.string()),
        _required("role", pa.string()),
        _required("estimator", pa.string()),
        _required("trained_rows", pa.int64()),
        pa.field("manifest", pa.string()),
        pa.field("content", pa.binary()),
        _required("chunk", pa.int32()),
        _required("chunks", pa.int32()),
        pa.field("sha256", pa.string()),
        pa.field("reason", pa.string()),
    ]
)

_DESCRIPTIONS: Final = {
    "model": "The model stream's name.",
    "version": "Counts the contents that the trainer has written, from 1; champion and challengers together.",
    "at": "Event time from which it holds.",
    "event": "checkpoint, promoted, rolled_back or retired.",
    "role": "champion or challenger: what this version is from now on.",
    "estimator": "The candidate's name.",
    "trained_rows": "Rows that this version has learnt from.",
    "manifest": "Classes, parameters, library versions and schema, as JSON; on the first chunk.",
    "content": "A part of the model's bytes.",
    "chunk": "Which part this is, from 0.",
    "chunks": "Into how many parts the content is cut; 0 if there is none.",
    "sha256": "Of the whole content.",
    "reason": "Why, in words.",
}

CONTROL_SCHEMA: Final = pa.schema(
    [
        _required("action", pa.string()),
        pa.field("estimator", pa.string()),
        pa.field("version", pa.int64()),
        _required("by", pa.string()),
        _required("asked_at", _TIME),
        pa.field("reason", pa.string()),
    ]
)

_CONTROL_DESCRIPTIONS: Final = {
    "action": "promote or rollback.",
    "estimator": "Whom to promote: the candidate's name.",
    "version": "Or the version whose candidate to promote; for a rollback the version to go back to (null: the last).",
    "by": "Who asks.",
    "asked_at": "When, by the clock.",
    "reason": "Why, in words.",
}


def model_stream(name: str, *, owner: str = "", description: str = "") -> Stream:
    """The stream that a trainer writes its models to."""
    return Stream(
        name,
        Schema(MODEL_SCHEMA).described(_DESCRIPTIONS),
        time="at",
        partitions=1,
        owner=owner,
        description=description or "Versions of a model, and which of them is the champion.",
        role="model",
    )


def control_stream(model: Stream | str) -> Stream:
    """The stream `<model>.control` in which people ask the trainer to promote a candidate or to go back.

    It has no event time: what a person asks for holds from the moment at which the trainer takes it, and nobody waits
    for the next request.
    """
    name = model if isinstance(model, str) else model.name
    return Stream(
        f"{name}.control",
        Schema(CONTROL_SCHEMA).described(_CONTROL_DESCRIPTIONS),
        codec="json",
        partitions=1,
        description=f"What people ask the trainer of {name} to do: promote a candidate, go back to a version.",
    )


@dataclass(frozen=True, slots=True)
class Learns:
    """What the models of a trainer read and predict: columns, and classes (None: numbers). A trainer has it as its
    attribute `learns`, so that whoever predicts with its models need not say it again."""

    features: tuple[str, ...]
    classes: tuple[Class, ...] | None


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """One thing that a trainer says. `at` is in microseconds since 1970; `content` is the encoded artefact, which
    every event but `retired` carries, so that a reader needs no other message to follow it."""

    model: str
    version: int
    at: int
    event: Event
    role: ModelRole
    estimator: str
    trained_rows: int
    content: bytes | None = None
    reason: str | None = None

    @classmethod
    def of(
        cls,
        artefact: Artefact,
        *,
        model: str,
        version: int,
        at: int,
        event: Event,
        role: ModelRole,
        estimator: str,
        trained_rows: int,
        reason: str | None = None,
    ) -> ModelEvent:
        """An event with the artefact's content. ModelError if it cannot be encoded."""
        return cls(model, version, at, event, role, estimator, trained_rows, encode(artefact), reason)


def model_rows(events: Iterable[ModelEvent], *, chunk: int = CHUNK) -> list[pa.RecordBatch]:
    """The rows of some events, in batches that fit into one message each; a large content is cut into chunks."""
    batches: list[list[dict[str, object]]] = [[]]
    size = 0
    for event in events:
        content = event.content
        parts = [content[at : at + chunk] for at in range(0, len(content), chunk)] if content else [None]
        for number, part in enumerate(parts):
            if batches[-1] and size + len(part or b"") > chunk:
                batches.append([])
                size = 0
            size += len(part or b"")
            batches[-1].append(_row(event, number, len(parts) if content else 0, part))
    return [pa.RecordBatch.from_pylist(rows, schema=MODEL_SCHEMA) for rows in batches if rows]


def _row(event: ModelEvent, number: int, chunks: int, part: bytes | None) -> dict[str, object]:
    content = event.content
    return {
        "model": event.model,
        "version": event.version,
        "at": event.at,
        "event": event.event,
        "role": event.role,
        "estimator": event.estimator,
        "trained_rows": event.trained_rows,
        "manifest": manifest_text(content, event.model) if content and not number else None,
        "content": part,
        "chunk": number,
        "chunks": chunks,
        "sha256": hashlib.sha256(content).hexdigest() if content else None,
        "reason": event.reason,
    }
