"""What arrives on a model stream: chunks put together, checked, and taken as an event, or refused with the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

import pyarrow as pa

from operators.execution.state import State
from operators.join.rows import addresses_of, kept_schema, one_batch, own_columns
from operators.model.artefact import LARGEST_CONTENT, ModelError, manifest_text
from operators.model.stream import MODEL_SCHEMA, Event, ModelEvent, ModelRole
from streams.message import RowAddress

MOST_CHUNKS: Final = 4096
_ARRIVING: Final = "model arriving"
_SAME: Final = ("model", "version", "at", "event", "role", "estimator", "trained_rows", "chunks", "sha256")


@dataclass(frozen=True, slots=True)
class Received:
    """An event that makes sense, and where its first row lies. Its content is checked; None if it has none."""

    event: ModelEvent
    address: RowAddress


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that is no event, or whose model is not taken; None for what it does not say."""

    model: str | None
    version: int | None
    at: int | None
    address: RowAddress
    reason: str


class Inbox:
    """Reads the rows of the model stream `model` for a task; chunks of an unfinished content wait in its state.

    `problem` says what is wrong with an event's content, if anything is.
    """

    def __init__(self, model: str, problem: Callable[[ModelEvent, bytes], str | None]) -> None:
        self._model = model
        self._problem_of = problem
        self.schema = kept_schema(MODEL_SCHEMA)

    def take(self, state: State, rows: Any) -> Iterator[Received | Refused]:
        """Events and refusals, in the order of the rows (record batches of `schema`)."""
        waiting = state.table(_ARRIVING)
        if waiting is not None:
            rows = one_batch(pa.concat_tables([waiting, pa.Table.from_batches([rows])]))
            del state[_ARRIVING]
        addresses = list(addresses_of(rows, self._model))
        # Row by row: a model stream has a handful of rows where the others have millions.
        told = _told(own_columns(rows))
        at = 0
        while at < len(told):
            problem = self._problem(told[at])
            if problem is not None:
                yield self._refused(told[at], addresses[at], problem)
                at += 1
                continue
            count = max(told[at]["chunks"], 1)
            end = at + 1
            while end < min(at + count, len(told)) and _continues(told[at], told[end], end - at):
                end += 1
            if end == len(told) and end - at < count:
                state[_ARRIVING] = rows.slice(at)
                return
            if end - at < count:
                what = f"only {end - at} of {count} chunks came before another message"
                yield self._refused(told[at], addresses[at], what)
            else:
                yield self._whole(told[at:end], addresses[at])
            at = end

    def _problem(self, row: dict[str, Any]) -> str | None:
        """What is wrong with a row that should begin a message."""
        empty = [field.name for field in MODEL_SCHEMA if not field.nullable and row[field.name] is None]
        if empty:
            return f"it has no {', '.join(empty)}"
        if row["model"] != self._model:
            return f"it is a message of the model {_short(row['model'])}"
        if row["event"] not in get_args(Event) or row["role"] not in get_args(ModelRole):
            return f"it is no event known here: {_short(row['event'])}, {_short(row['role'])}"
        if not 0 <= row["chunks"] <= MOST_CHUNKS or row["version"] < 1 or row["trained_rows"] < 0:
            return f"version {row['version']}, {row['trained_rows']} rows, {row['chunks']} chunks make no sense"
        if row["chunk"]:
            return f"it begins with chunk {row['chunk']}"
        if (row["content"] is None) != (row["chunks"] == 0):
            return "content and the number of chunks contradict each other"
        return None

    def _whole(self, rows: Sequence[dict[str, Any]], address: RowAddress) -> Received | Refused:
        first = rows[0]
        where = str(address)
        content = None
        if first["chunks"]:
            size = sum(len(row["content"] or b"") for row in rows)
            if size > LARGEST_CONTENT:
                return self._refused(first, address, f"its content has {size:,} bytes, {LARGEST_CONTENT:,} at most")
            content = b"".join(row["content"] or b"" for row in rows)
            if hashlib.sha256(content).hexdigest() != first["sha256"]:
                return self._refused(first, address, "its content does not have the SHA-256 that it says")
            try:
                if manifest_text(content, where) != first["manifest"]:
                    return self._refused(first, address, "the manifest beside its content is another one")
            except ModelError as error:
                return self._refused(first, address, error.what)
        event = ModelEvent(
            model=first["model"],
            version=first["version"],
            at=first["at"],
            event=cast("Event", first["event"]),
            role=cast("ModelRole", first["role"]),
            estimator=first["estimator"],
            trained_rows=first["trained_rows"],
            content=content,
            reason=first["reason"],
        )
        problem = None if content is None else self._problem_of(event, content)
        if problem is not None:
            return self._refused(first, address, problem)
        return Received(event, address)

    def _refused(self, row: dict[str, Any], address: RowAddress, reason: str) -> Refused:
        return Refused(row["model"], row["version"], row["at"], address, reason)


def _continues(first: dict[str, Any], row: dict[str, Any], number: int) -> bool:
    return row["chunk"] == number and row["content"] is not None and all(row[name] == first[name] for name in _SAME)


def _told(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as mappings, times in microseconds: a forged one may be beyond what a datetime can hold."""
    at = rows.schema.get_field_index("at")
    return rows.set_column(at, "at", rows.column(at).cast(pa.int64())).to_pylist()


def _short(text: Any) -> str:
    return repr(text)[:80]
