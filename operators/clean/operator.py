"""The clean operator: normalise, judge, impute; what breaks a rule goes to quarantine, with the reason.

Rows come from the source stream and, after a person has mended them, back through the retry stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.clean.impute import Imputer
from operators.clean.memory import StatePart
from operators.clean.normalise import Normaliser, normalised
from operators.clean.plan import Plan, plan
from operators.clean.quarantine import COLUMNS, Found, Violation, column_names, quarantined, rows_where
from operators.execution.state import State
from operators.operator import Batch, Derived, Input, Output
from operators.versions import version_of
from streams.message import BEGINNING, END
from streams.parents import Addresses
from streams.rule import Bools, Rule, empty
from streams.rules import NotNull
from streams.stream import Stream
from streams.window_rules import References


def clean(
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
) -> Clean:
    """Rows of `source` that keep its contract and `expect` go to the stream `to`, all others to `<to>.quarantine`.

    In this order: `normalise` brings fields into their normal form (a list of steps each), the rules are judged,
    `impute` fills nulls (with `flag_imputed`, a column `<field>_imputed` says where), `drop` and `rename` shape the
    output. Everything is named by the source's fields. A row without a value in a required field, the key or the event
    time breaks `not_null` of it. `tables` are the tables that `references` rules name. Rows published to `<to>.retry`
    (the source's schema) take the same path. CleanError or ContractError if something does not fit the schema.
    """
    return Clean(
        plan(source, to, expect, normalise or {}, impute or {}, flag_imputed, tables, drop, rename or {}), version
    )


class Clean:
    """The operator that `clean` makes.

    Rules that look at one row are all judged, so that a row in quarantine shows everything that is wrong with it.
    Rules with memory (`unique`, `jump`) are then judged in their order, each on the rows that kept all before it.
    Imputation learns from good rows alone. Except for late rows, no output depends on how rows are cut into batches.
    What a rule remembers is kept under its name: a rule with other parameters begins anew, all others go on.
    """

    kind = "clean"

    def __init__(self, plan: Plan, version: str = "1") -> None:
        self.plan = plan
        self.params = plan.params
        self.version = version_of(version, plan.params)

    def __repr__(self) -> str:
        return f"clean({self.plan.source.name!r}, to={self.name!r}, {len(self.plan.rules)} rules)"

    @property
    def name(self) -> str:
        return self.plan.good.name

    @property
    def inputs(self) -> tuple[Input, ...]:
        fields = tuple(self.plan.source.schema.arrow.names)
        tables = (Input(table, "broadcast", keys) for table, keys in self.plan.tables)
        return (Input(self.plan.source, reads=fields), Input(self.plan.retry, reads=fields), *tables)

    @property
    def outputs(self) -> tuple[Stream, ...]:
        return (self.plan.good, self.plan.quarantine)

    @property
    def tick(self) -> int | None:
        return None

    @property
    def row_wise(self) -> bool:
        return self.plan.row_wise

    @property
    def keeps_key(self) -> bool:
        return not set(self.plan.source.key) & set(self.plan.normalise)

    def holds(self, state: State) -> int:
        return END

    def step(self, batch: Batch, state: State) -> Iterable[Output]:
        for table, keys in self.plan.tables:
            if batch.input == table.name:
                self._learn(table, keys, batch.rows, state)
                return []
        if batch.is_tick:
            return self._quarantine(batch, self._nothing(), [], self._look(self._nothing(), batch, state))
        return self._judge(batch, state)

    def derives(self) -> dict[str, tuple[Derived, ...]]:
        origins = (self.plan.source.name, self.plan.retry.name)

        def derived(name: str, fields: Iterable[str]) -> Derived:
            return Derived(name, tuple((origin, field) for field in fields for origin in origins))

        good = []
        for field, output in self.plan.kept.items():
            others = self.plan.impute[field].reads if field in self.plan.impute else ()
            good.append(derived(output, dict.fromkeys((field, *others))))
        good += [derived(flag, (field,)) for field, flag in self.plan.flags.items()]
        fields = self.plan.source.schema.arrow.names
        beside = column_names(fields)
        judged = [field for field in fields if field in self.plan.judged]
        bad = [derived(field, (field,)) for field in fields]
        bad += [derived(beside[name], () if name == "contract" else judged) for name in COLUMNS]
        return {self.plan.good.name: tuple(good), self.plan.quarantine.name: tuple(bad)}

    def _judge(self, batch: Batch, state: State) -> list[Output]:
        original = batch.rows.select(self.plan.source.schema.arrow.names)
        rows, violations = self._normalise(original)
        uncast = {violation.field: violation.rows for violation in violations}
        for row_rule in self.plan.row_rules:
            failed = row_rule.failures(rows)
            if failed.true_count:
                at = rows_where(failed)
                if isinstance(row_rule, NotNull) and row_rule.field in uncast:
                    at = np.setdiff1d(at, uncast[row_rule.field])
                violations.append(_violation(row_rule, rows, at))
        for reference in self.plan.references:
            at = np.flatnonzero(reference.failures(rows, self._known(reference, state)))
            if len(at):
                violations.append(_violation(reference, rows, at))
        good = _without(rows.num_rows, violations)
        if self.plan.memory_rules:
            times = self._times(rows)
            for rule in self.plan.memory_rules:
                at = np.flatnonzero(good)
                chosen = rows if len(at) == rows.num_rows else rows.take(pa.array(at))
                failed = rule.failures(chosen, times[at], StatePart(state, f"rule {rule.name}"), batch.clock)
                if failed.any():
                    violations.append(_violation(rule, rows, at[failed]))
                    good[at[failed]] = False
        found = self._look(rows, batch, state)
        outputs = self._quarantine(batch, original, violations, found)
        kept, parents = rows, batch.addresses
        if violations:
            kept, parents = rows.filter(pa.array(good)), batch.addresses.take(np.flatnonzero(good))
        if kept.num_rows:
            outputs.insert(0, Output(self.plan.good.name, self._shape(self._impute(kept, state)), (parents,)))
        return outputs

    def _normalise(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Violation]]:
        violations: list[Violation] = []
        if not self.plan.normalise:
            return rows, violations
        columns = list(rows.columns)
        for field, steps in self.plan.normalise.items():
            at = rows.schema.get_field_index(field)
            columns[at], failures = normalised(rows.column(at), steps)
            for step, failed in failures:
                rule = f"cast({field}, {step.to})"
                violations.append(Violation(rule, field, np.flatnonzero(failed), {field: rows.column(at)}))
        return pa.RecordBatch.from_arrays(columns, schema=self.plan.normal_schema), violations

    def _look(self, rows: pa.RecordBatch, batch: Batch, state: State) -> list[Found]:
        """What the rules about the stream find. Retried rows are no part of the stream's course."""
        if not self.plan.stream_rules or batch.input == self.plan.retry.name:
            return []
        times = self._times(rows)
        return [
            Found(rule.name, next(iter(rule.fields), None), finding)
            for rule in self.plan.stream_rules
            for finding in rule.findings(rows, times, StatePart(state, f"watch {rule.name}"), batch.clock)
        ]

    def _times(self, rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """Event times from the column, since a retried row keeps its own while its stream has none."""
        if self.plan.source.time is None:
            return np.full(rows.num_rows, BEGINNING, dtype=np.int64)
        instants = rows.column(self.plan.source.time).cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
        return pc.fill_null(instants, BEGINNING).to_numpy()

    def _quarantine(
        self, batch: Batch, rows: pa.RecordBatch, violations: list[Violation], found: list[Found]
    ) -> list[Output]:
        if not violations and not found:
            return []
        stream = self.plan.quarantine
        bad, at = quarantined(rows, stream.schema.arrow, violations, found, self.plan.contract)
        addresses = batch.addresses
        if batch.is_tick:
            addresses = Addresses.of_message(self.plan.source.name, 0, 0, 0)
        return [Output(stream.name, bad, (addresses.take(at),))]

    def _impute(self, rows: pa.RecordBatch, state: State) -> list[pa.Array]:
        columns, flags = list(rows.columns), []
        for field, imputer in self.plan.impute.items():
            at = rows.schema.get_field_index(field)
            learnt = StatePart(state, " ".join(("impute", field, *imputer.reads)))
            columns[at] = imputer.fill(field, rows, learnt)
            if field in self.plan.flags:
                flags.append(pc.and_(rows.column(at).is_null(), columns[at].is_valid()))
        return columns + flags

    def _shape(self, columns: list[pa.Array]) -> pa.RecordBatch:
        chosen = [columns[at] for at in self.plan.kept_positions]
        return pa.RecordBatch.from_arrays(chosen, schema=self.plan.good.schema.arrow)

    def _learn(self, table: Stream, keys: tuple[str, ...], rows: pa.RecordBatch, state: State) -> None:
        for key in keys:
            reference = next(rule for rule in self.plan.references if (rule.table, rule.key) == (table.name, key))
            reference.learn(rows.column(key), self._known(reference, state))

    def _known(self, reference: References, state: State) -> StatePart:
        return StatePart(state, f"table {reference.table}.{reference.key}")

    def _nothing(self) -> pa.RecordBatch:
        return empty(self.plan.source.schema.arrow)


def _violation(rule: Rule, rows: pa.RecordBatch, at: npt.NDArray[np.int64]) -> Violation:
    return Violation(rule.name, next(iter(rule.fields), None), at, {name: rows.column(name) for name in rule.fields})


def _without(rows: int, violations: list[Violation]) -> Bools:
    good = np.ones(rows, dtype=bool)
    for violation in violations:
        good[violation.rows] = False
    return good
