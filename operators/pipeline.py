"""A pipeline: a named set of streams, sources and operators. Declaring runs nothing; every output is named.

What an operator does is said where it is made (operators/clean, operators/join, …); here it gets its name and place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from catalog.specs import Codec
from operators.clean import clean
from operators.clean.impute import Imputer
from operators.clean.normalise import Normaliser
from operators.execution.plan import OnError
from operators.filter import Predicate
from operators.filter import filter as filter_rows
from operators.join import join
from operators.join.columns import Fields, On
from operators.join.declare import How
from operators.learning import Learning
from operators.map import Function
from operators.map import map as map_rows
from operators.repartition import repartition
from streams.duration import Duration
from streams.rule import Rule
from streams.schema import Schema
from streams.stream import Stream


class Pipeline(Learning):
    """Declares streams and what is done to them.

    Names are given without the pipeline's own, which is put in front: `Pipeline("plant").stream("readings", …)` is
    the stream `plant.readings`. `partitions` is what streams get unless they say otherwise.

    All operators take `on_error` ("quarantine": a batch on which a step fails is listed in `<name>.failed` and passed
    over; otherwise the task stops there), and `description`, `owner` and `tags` of their outputs in the catalog.
    `codec` is the main output's: "arrow" if nothing is said, "json" or "avro" for readers that know nothing of us.
    """

    def clean(
        self,
        source: Stream,
        *,
        to: str,
        expect: Sequence[Rule] = (),
        normalise: Mapping[str, Normaliser | Sequence[Normaliser]] | None = None,
        impute: Mapping[str, Imputer] | None = None,
        flag_imputed: bool = False,
        tables: Sequence[Stream] = (),
        drop: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
        version: str = "1",
        codec: Codec | None = None,
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Normalise, check and impute rows; what fails goes to `<to>.quarantine`.

        In this order: `normalise` brings fields into their normal form (hw.normalise), the contract's rules and those
        of `expect` are judged, `impute` fills nulls (hw.impute; with `flag_imputed` a column says where), `drop` and
        `rename` shape the output. `tables` are those that `references` rules name. Rows published to `<to>.retry` take
        the same path. CleanError or ContractError for what does not fit the schema.
        """
        made = clean(
            source, to=self._full(to), expect=expect, normalise=normalise, impute=impute, flag_imputed=flag_imputed,
            tables=tables, drop=drop, rename=rename, version=version,
        )  # fmt: skip
        return self.add(made, codec=codec, on_error=on_error, description=description, owner=owner, tags=tags)

    def join(
        self,
        left: Stream,
        right: Stream | Mapping[str, Stream],
        *,
        on: On | Mapping[str, On],
        to: str,
        how: How | None = None,
        kind: Literal["left", "inner"] = "left",
        fields: Fields | Mapping[str, Fields] = None,
        left_fields: Sequence[str] | None = None,
        prefix: str | None = None,
        broadcast: bool = False,
        tolerance: Duration | None = None,
        allow_exact: bool = True,
        before: Duration | None = None,
        after: Duration | None = None,
        many: Literal["one", "all"] = "all",
        time_name: str = "joined_at",
        lateness: Duration = 0,
        tick: Duration | None = None,
        version: str = "1",
        codec: Codec | None = None,
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Bring rows of `left` together with those of `right` that have equal values in `on` ("site", or
        ("dest", "faa") where the names differ, or a list of both).

        how="table" (if the right side is a table): the table's row that held at the left row's time; several tables
        at once by a map of names. how="asof": the newest right row at or before the left row's time, not older
        than `tolerance`. how="window": right rows up to `before` earlier and `after` later, all or (many="one") the
        first. `fields` chooses and names the right columns, `left_fields` the left ones; kind="inner" drops rows that
        found nothing. What comes later than `lateness` goes to `<to>.late`. CannotJoin, NotCoPartitioned.
        """
        made = join(
            left, right, on=on, to=self._full(to), how=how, kind=kind, fields=fields, left_fields=left_fields,
            prefix=prefix, broadcast=broadcast, tolerance=tolerance, allow_exact=allow_exact, before=before,
            after=after, many=many, time_name=time_name, lateness=lateness, tick=tick, version=version,
        )  # fmt: skip
        return self.add(made, codec=codec, on_error=on_error, description=description, owner=owner, tags=tags)

    def map(
        self,
        source: Stream,
        function: Function,
        *,
        reads: Sequence[str],
        to: str,
        schema: Schema | pa.Schema | None = None,
        key: str | Sequence[str] | None = None,
        time: str | None = None,
        add: bool = False,
        derives: Mapping[str, Sequence[str]] | None = None,
        row_wise: bool = False,
        version: str = "1",
        codec: Codec | None = None,
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Apply a plain function to batches; it sees the columns in `reads` and no others.

        It gives back a RecordBatch or Table, alone or as hw.Mapped with the input row of each output row. With `add`
        the source's columns are carried over beside those that it makes. `schema` is what it makes, `derives` what each
        made column depends on; `row_wise` promises that it treats each row by itself. CannotMap for what cannot be
        declared.
        """
        made = map_rows(
            source, function, reads=reads, to=self._full(to), schema=schema, key=key, time=time, add=add,
            derives=derives, row_wise=row_wise, version=version,
        )  # fmt: skip
        return self.add(made, codec=codec, on_error=on_error, description=description, owner=owner, tags=tags)

    def filter(
        self,
        source: Stream,
        predicate: Predicate,
        *,
        reads: Sequence[str],
        to: str,
        row_wise: bool = True,
        version: str = "1",
        codec: Codec | None = None,
        on_error: OnError = "stop",
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """Keep the rows for which the predicate is true: an Arrow expression, or a function of a batch with the
        columns `reads` that gives one truth value a row."""
        made = filter_rows(source, predicate, reads=reads, to=self._full(to), row_wise=row_wise, version=version)
        return self.add(made, codec=codec, on_error=on_error, description=description, owner=owner, tags=tags)

    def repartition(
        self,
        source: Stream,
        key: str | Sequence[str],
        to: str,
        *,
        partitions: int | None = None,
        version: str = "1",
        codec: Codec | None = None,
        description: str = "",
        owner: str = "",
        tags: Iterable[str] = (),
    ) -> Stream:
        """The same rows under another key, each in the partition of its new key; without one, in `<to>.keyless`."""
        made = repartition(source, key, self._full(to), partitions=partitions, version=version)
        return self.add(made, codec=codec, description=description, owner=owner, tags=tags)
