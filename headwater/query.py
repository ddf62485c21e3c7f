"""Queries: which rows of which streams a dataset is made of, asked of the catalog."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog import Catalog, CatalogError
from streams.condition import ConditionError, parse_condition
from streams.stream import Stream

#: Offset ranges by stream: [partition, first, end], `end` excluded.
Ranges = Mapping[str, Sequence[Sequence[int]]]
Instant = dt.datetime | dt.date | str

#: How many streams a search in words may find at most.
_LONGEST_ANSWER = 100


class DatasetError(CatalogError):
    """A dataset that cannot be made or read as asked."""

    exit_code = 2


@dataclass(frozen=True)
class Query:
    """Streams (by name, or those of the catalog that have this tag, entity, owner, or answer this search; all that is
    given must hold), and of their rows those in the offset `ranges`, from event time `since` up to, not including,
    `until`, for which `where` holds (see streams.condition), with these `columns`.

    Instants are ISO text, dates, or datetimes with a zone; text and dates without one are UTC.
    """

    streams: tuple[str, ...] = ()
    tag: str | None = None
    entity: str | None = None
    owner: str | None = None
    search: str | None = None
    since: str | None = None
    until: str | None = None
    ranges: Ranges | None = None
    where: str | None = None
    columns: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        streams: str | Stream | Iterable[str | Stream] = (),
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        columns: Iterable[str] = (),
        **parts: Any,
    ) -> Query:
        """A query from what people write. DatasetError for an instant that is none or has no zone."""
        several = [streams] if isinstance(streams, str | Stream) else list(streams)
        return cls(
            streams=tuple(one if isinstance(one, str) else one.name for one in several),
            since=None if since is None else instant(since).isoformat(),
            until=None if until is None else instant(until).isoformat(),
            columns=(columns,) if isinstance(columns, str) else tuple(columns),
            **parts,
        )

    def to_dict(self) -> dict[str, Any]:
        """What is asked for, as JSON values; what is not asked for is left out."""
        found: dict[str, Any] = {name: value for name, value in vars(self).items() if value}
        for name in ("streams", "columns"):
            if name in found:
                found[name] = list(found[name])
        if self.ranges is not None:
            found["ranges"] = {name: [list(one) for one in ranges] for name, ranges in self.ranges.items()}
        return found

    def names(self, catalog: Catalog) -> list[str]:
        """The names of the streams that are meant, in the order of their names. DatasetError if there is none."""
        named = dict.fromkeys(self.streams or (self.ranges or ()))
        for name in named:
            catalog.stream(name)
        sets = [set(named)] if named else []
        if self.tag or self.entity or self.owner:
            sets.append(set(_listed(catalog, tag=self.tag, entity=self.entity, owner=self.owner)))
        if self.search:
            hits = catalog.search(self.search, limit=_LONGEST_ANSWER)
            sets.append({hit.name for hit in hits if hit.kind == "stream"} & (set(named) or set(_listed(catalog))))
        found = sorted(set.intersection(*sets)) if sets else []
        if not found:
            raise DatasetError(
                "The query finds no stream" if sets else "The query names no stream",
                where=str(self.to_dict()),
                fix="Name streams, or a tag, entity, owner or search that the catalog has an answer to.",
            )
        return found

    def times(self) -> tuple[int | None, int | None]:
        """`since` and `until` in microseconds since 1970."""
        return tuple(None if one is None else _microseconds(instant(one)) for one in (self.since, self.until))  # type: ignore[return-value]

    def check(self, stream: Stream) -> tuple[str, ...]:
        """The columns that are taken of this stream. DatasetError or ConditionError if the query does not fit it."""
        schema = stream.schema.arrow
        if stream.time is None and (self.since or self.until):
            raise DatasetError(
                "The stream has no event time", where=stream.name, fix="Leave since and until out, or use ranges."
            )
        unknown = [name for name in self.columns if name not in schema.names]
        if unknown:
            raise DatasetError(
                f"The stream has no column {', '.join(map(repr, unknown))}",
                where=stream.name,
                fix=f"It has {', '.join(schema.names)}.",
            )
        if self.where is not None:
            parse_condition(self.where, schema, where=stream.name)
        for one in (self.ranges or {}).get(stream.name, ()):
            if len(one) != 3 or not 0 <= one[0] < stream.partitions or not 0 <= one[1] <= one[2]:
                raise DatasetError(
                    f"{list(one)} is no range of offsets",
                    where=stream.name,
                    fix=f"Give [partition (0 to {stream.partitions - 1}), first, end].",
                )
        return self.columns or tuple(schema.names)


def instant(given: Instant) -> dt.datetime:
    """An instant in UTC, from ISO text, a date, or a datetime with a zone. DatasetError if it is none."""
    if isinstance(given, str):
        try:
            moment = dt.datetime.fromisoformat(given)
        except ValueError as error:
            raise DatasetError(
                f"{given!r} is no time", fix="Write it as 2013-06-01 or 2013-06-01T12:00:00Z."
            ) from error
        return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    if isinstance(given, dt.datetime):
        if given.tzinfo is None:
            raise DatasetError(f"{given!r} has no time zone", fix="Give it one: datetime(…, tzinfo=timezone.utc).")
        return given.astimezone(dt.UTC)
    return dt.datetime(given.year, given.month, given.day, tzinfo=dt.UTC)


def _microseconds(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def _listed(catalog: Catalog, **options: Any) -> list[str]:
    names: list[str] = []
    while page := catalog.streams(roles=["data"], after=names[-1] if names else None, limit=1000, **options):
        names += [record.name for record in page]
    return names


__all__ = ["ConditionError", "DatasetError", "Query", "Ranges", "instant"]
