"""What a clean operator was declared to do, checked against the source's schema before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from operators.clean.impute import Imputer
from operators.clean.normalise import CleanError, Normaliser, Steps, steps_of, type_after
from operators.clean.quarantine import quarantine_schema, quarantine_stream
from streams.contract import check_rules, contract_version
from streams.rule import MemoryRule, RowRule, Rule, StreamRule
from streams.rules import Condition, NotFuture, NotNull, not_null
from streams.schema import type_text
from streams.stream import Stream
from streams.window_rules import References, Unique


@dataclass(frozen=True)
class Plan:
    """`kept` maps the source's fields to the output's names, `flags` imputed fields to their flag columns;
    `kept_positions` choose the output's columns from the source's followed by the flags. `tables` are with the
    keys that are read from them. `judged` are the fields that any rule looks at."""

    source: Stream
    good: Stream
    quarantine: Stream
    retry: Stream
    rules: tuple[Rule, ...]
    row_rules: tuple[RowRule, ...]
    references: tuple[References, ...]
    memory_rules: tuple[MemoryRule, ...]
    stream_rules: tuple[StreamRule, ...]
    normalise: dict[str, Steps]
    normal_schema: pa.Schema
    impute: dict[str, Imputer]
    flags: dict[str, str]
    kept: dict[str, str]
    kept_positions: tuple[int, ...]
    tables: tuple[tuple[Stream, tuple[str, ...]], ...]
    contract: str
    judged: frozenset[str]
    params: dict[str, Any]

    @property
    def row_wise(self) -> bool:
        learns = any(imputer.remembers for imputer in self.impute.values())
        return not (self.references or self.memory_rules or self.stream_rules or learns)


def plan(
    source: Stream,
    to: str,
    expect: Sequence[Rule],
    normalise: Mapping[str, Normaliser | Sequence[Normaliser]],
    impute: Mapping[str, Imputer],
    flag_imputed: bool,
    tables: Sequence[Stream],
    drop: Sequence[str],
    rename: Mapping[str, str],
) -> Plan:
    schema = source.schema.arrow
    _check_names(source, to, [*normalise, *impute, *drop, *rename])
    steps = {field: steps_of(declared) for field, declared in normalise.items()}
    normal = pa.schema(
        [
            field.with_type(type_after(field, steps[field.name], to)) if field.name in steps else field
            for field in schema
        ]
    )
    normal_schema = pa.schema([field.with_nullable(True) for field in normal])
    as_normal = replace(source, schema=type(source.schema)(normal))
    rules = _with_required(as_normal, _all_of(source.expect, expect, to), impute)
    check_rules(as_normal, rules)
    _check_partitions(source, rules, to)
    for field, imputer in impute.items():
        imputer.check(field, normal, to)
    references = tuple(rule for rule in rules if isinstance(rule, References))
    flags = {field: f"{field}_imputed" for field in impute} if flag_imputed else {}
    kept = {name: rename.get(name, name) for name in schema.names if name not in drop}
    good = _good_stream(as_normal, to, kept, flags, impute)
    described = f"Rows of {source.name} that broke a rule on the way to {to}"
    cast = {field: [type(step).kind for step in steps[field]] for field in steps}
    return Plan(
        source=source,
        good=good,
        quarantine=quarantine_stream(source, f"{to}.quarantine", quarantine_schema(schema), described),
        retry=replace(
            source,
            name=f"{to}.retry",
            time=None,
            kind="stream",
            codec="arrow",
            expect=(),
            lateness=0,
            description=f"Mended rows of {to}.quarantine, to be judged again",
            role="retry",
        ),
        rules=rules,
        row_rules=tuple(rule for rule in rules if isinstance(rule, RowRule) and not isinstance(rule, NotFuture)),
        references=references,
        memory_rules=tuple(rule for rule in rules if isinstance(rule, MemoryRule)),
        stream_rules=tuple(rule for rule in rules if isinstance(rule, StreamRule)),
        normalise=steps,
        normal_schema=normal_schema,
        impute=dict(impute),
        flags=flags,
        kept=kept,
        kept_positions=tuple(
            [schema.get_field_index(name) for name in kept] + [len(schema) + at for at in range(len(flags))]
        ),
        tables=_tables(references, tables, normal, to),
        contract=contract_version(rules),
        judged=frozenset(name for rule in rules for name in rule.fields)
        | {field for field, kinds in cast.items() if "cast" in kinds},
        params={
            "rules": [rule.to_dict() for rule in rules],
            "normalise": {field: [step.to_dict() for step in chain] for field, chain in steps.items()},
            "impute": {field: imputer.to_dict() for field, imputer in impute.items()},
            "flag_imputed": flag_imputed,
            "drop": list(drop),
            "rename": dict(rename),
            "schema": {field.name: type_text(field.type) for field in schema},
        },
    )


def _check_names(source: Stream, to: str, named: Sequence[str]) -> None:
    for name in named:
        if name not in source.schema.arrow.names:
            raise CleanError(
                f"The source {source.name!r} has no field {name!r}",
                where=to,
                fix=f"Its fields are {', '.join(source.schema.arrow.names)}.",
            )


def _all_of(contract: Sequence[Rule], expect: Sequence[Rule], to: str) -> tuple[Rule, ...]:
    """Each rule once. A condition that a contract file knows only by name is given its function by an equal one
    in `expect`."""
    rules: dict[Rule, Rule] = {}
    for rule in (*contract, *expect):
        known = rules.get(rule)
        if known is None or (isinstance(known, Condition) and known.check_rows is None):
            rules[rule] = rule
    for rule in rules.values():
        if isinstance(rule, Condition) and rule.check_rows is None:
            raise CleanError(
                f"The function of the condition {rule.name!r} is not known here",
                where=to,
                fix="A contract file holds only its name: declare the same condition in `expect`.",
            )
    return tuple(rules.values())


def _with_required(source: Stream, rules: tuple[Rule, ...], impute: Mapping[str, Imputer]) -> tuple[Rule, ...]:
    """The rules, preceded by `not_null` of what no row of the output can be without."""
    needed = [field.name for field in source.schema.arrow if not field.nullable and field.name not in impute]
    needed += [*source.key, *([source.time] if source.time else [])]
    given = {rule.field for rule in rules if isinstance(rule, NotNull)}
    return (*(not_null(name) for name in dict.fromkeys(needed) if name not in given), *rules)


def _check_partitions(source: Stream, rules: Sequence[Rule], to: str) -> None:
    """A task sees one partition: equal values must lie in the same one for `unique` to find them."""
    for rule in rules:
        together = source.partitions == 1 or (source.key and set(source.key) <= set(getattr(rule, "on", ())))
        if isinstance(rule, Unique) and not together:
            raise CleanError(
                f"The rule {rule.name} cannot be kept on {source.partitions} partitions, "
                "since rows with equal values may lie in different ones",
                where=to,
                fix=f"Add the key to the rule ({', '.join(source.key) or 'the stream has none'}), "
                "key the stream by the rule's fields, or give it one partition.",
            )


def _good_stream(
    source: Stream, to: str, kept: dict[str, str], flags: dict[str, str], impute: Mapping[str, Imputer]
) -> Stream:
    schema = source.schema.arrow
    for name in (*source.key, *([source.time] if source.time else [])):
        if name not in kept:
            raise CleanError(f"{name!r} is dropped, but is the key or event time", where=to, fix="Keep it.")
    names = [*kept.values(), *flags.values()]
    for name in names:
        if names.count(name) > 1:
            raise CleanError(f"Two fields of the output are named {name!r}", where=to, fix="Rename or drop one.")
    may_lack = {name for name, imputer in impute.items() if not imputer.always_fills}
    fields = [
        schema.field(name).with_name(output).with_nullable(schema.field(name).nullable or name in may_lack)
        for name, output in kept.items()
    ]
    fields += [pa.field(flag, pa.bool_(), False) for flag in flags.values()]
    return replace(
        source,
        name=to,
        schema=type(source.schema)(pa.schema(fields)),
        key=tuple(kept[name] for name in source.key),
        time=kept[source.time] if source.time else None,
        codec=source.codec if source.kind == "table" else "arrow",
        entities={kept[name]: entity for name, entity in source.entities.items() if name in kept},
        expect=(),
        lateness=0,
        description=f"Rows of {source.name} that keep its contract",
        addresses=tuple(kept[name] for name in source.addresses if name in kept),
        role="data",
    )


def _tables(
    references: Sequence[References], tables: Sequence[Stream], schema: pa.Schema, to: str
) -> tuple[tuple[Stream, tuple[str, ...]], ...]:
    known = {table.name: table for table in tables}
    keys: dict[str, list[str]] = {}
    for rule in references:
        table = known.setdefault(rule.table, rule.stream) if rule.stream else known.get(rule.table)
        if table is None:
            raise CleanError(
                f"The rule {rule.name} needs the table {rule.table!r}", where=to, fix="Pass it in tables=[…]."
            )
        if rule.key not in table.schema.arrow.names:
            raise CleanError(
                f"The rule {rule.name} speaks of the field {rule.key!r}, which {rule.table!r} does not have",
                where=to,
                fix=f"Its fields are {', '.join(table.schema.arrow.names)}.",
            )
        here, there = schema.field(rule.field).type, table.schema.arrow.field(rule.key).type
        if here != there and not (pa.types.is_integer(here) and pa.types.is_integer(there)):
            raise CleanError(
                f"The rule {rule.name} compares {here} with {there}", where=to, fix="Cast the field in normalise."
            )
        chosen = keys.setdefault(rule.table, [])
        if rule.key not in chosen:
            chosen.append(rule.key)
    return tuple((known[name], tuple(chosen)) for name, chosen in keys.items())
