"""Which columns a model learns from, and how each becomes numbers: declared here, learnt in `encoder`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from operators.model.registry import CannotLearn

#: Values that an open vocabulary holds unless it is told another number; what comes later counts as "other".
VOCABULARY: Final = 64
LARGEST_VOCABULARY: Final = 4096
BUCKETS: Final = 256
LARGEST_BUCKETS: Final = 1 << 16


@dataclass(frozen=True)
class Features:
    """Named columns and how they become numbers; made by `features`."""

    numeric: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    binned: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    onehot: Mapping[str, int] = field(default_factory=dict)
    hashed: Mapping[str, int] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, each once, in the order of their encoders."""
        parts = (self.numeric, self.plain, self.binned, self.onehot, self.hashed)
        return tuple(dict.fromkeys(name for part in parts for name in part))


def features(
    numeric: Sequence[str] = (),
    *,
    plain: Sequence[str] = (),
    binned: Mapping[str, Sequence[float]] | None = None,
    onehot: Sequence[str] | Mapping[str, int] = (),
    hashed: Sequence[str] | Mapping[str, int] = (),
) -> Features:
    """Which columns a model learns from, and how.

    `numeric`: a number, standardised by the mean and deviation learnt so far. `plain`: a number or truth value as it
    is. `binned`: one column for each span between fixed edges. `onehot`: one column for each value, in the order in
    which they were first seen, up to 64 or as many as said by name; later ones share one column, "other". `hashed`: as
    many columns as said (256), a value in the one of its hash. A column may be named in several ways. Each way has
    one more column that says where the value is missing (null or not a finite number). CannotLearn for a declaration
    that makes no sense.
    """
    made = Features(
        _names(numeric, "numeric"),
        _names(plain, "plain"),
        # By name: an artefact's manifest is JSON with sorted names, and must declare the same columns.
        {name: _edges(name, edges) for name, edges in sorted((binned or {}).items())},
        _counts(onehot, "onehot", VOCABULARY, LARGEST_VOCABULARY),
        _counts(hashed, "hashed", BUCKETS, LARGEST_BUCKETS),
    )
    if not made.columns:
        raise CannotLearn("No features are named", where="features", fix='Name columns: hw.features(["age"]).')
    return made


def features_of(given: Features | Iterable[str], schema: pa.Schema, where: str) -> Features:
    """What was declared, checked against the schema; of bare column names, numbers are standardised, truth values
    taken as they are, texts one-hot. CannotLearn for a column that is not there, or of a type that cannot be learnt
    from."""
    if isinstance(given, str):
        given = [given]
    names = given.columns if isinstance(given, Features) else tuple(given)
    kinds = {name: kind_of(schema.field(name).type) for name in names if name in schema.names}
    missing = [name for name in names if name not in kinds]
    if missing:
        raise CannotLearn(
            f"There is no column {', '.join(map(repr, missing))}",
            where=where,
            fix=f"There are {', '.join(map(repr, schema.names))}.",
        )
    odd = [name for name in names if not kinds[name]]
    if odd:
        raise CannotLearn(
            f"{odd[0]!r} is {schema.field(odd[0]).type}, which no encoder takes",
            where=where,
            fix="Features are numbers, truth values and text: make such a column of it with p.map.",
        )
    if not isinstance(given, Features):
        return features(
            [name for name in names if kinds[name] == "number"],
            plain=[name for name in names if kinds[name] == "bool"],
            onehot=[name for name in names if kinds[name] == "text"],
        )
    for name in (*given.numeric, *given.plain, *given.binned):
        if kinds[name] == "text":
            raise CannotLearn(
                f"{name!r} is text and cannot be numeric, plain or binned",
                where=where,
                fix="Name it in onehot or hashed.",
            )
    return given


def kind_of(kind: pa.DataType) -> str:
    """ "number", "bool" or "text": what the encoders make of an Arrow type; "" for what they do not take."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return ""


def described(declared: Features) -> dict[str, Any]:
    """The declaration as JSON values; pairs and no objects, since the order decides which column is which."""
    return {
        "numeric": list(declared.numeric),
        "plain": list(declared.plain),
        "binned": [[name, list(edges)] for name, edges in declared.binned.items()],
        "onehot": [[name, count] for name, count in declared.onehot.items()],
        "hashed": [[name, count] for name, count in declared.hashed.items()],
    }


def declared_by(told: Mapping[str, Any]) -> Features:
    """The declaration that `described` told of. CannotLearn, or whatever values without sense raise."""
    named = {way: _pairs(told[way]) for way in ("binned", "onehot", "hashed")}
    return features(told["numeric"], plain=told["plain"], **named)


def _pairs(told: Any) -> dict[str, Any]:
    made = dict(told)
    if not isinstance(told, list) or len(made) < len(told):
        raise ValueError("no list of columns, each once")
    return made


def _names(given: Sequence[str], what: str) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise CannotLearn(f"{what}={names!r} names a column twice, or something that is none", where="features")
    return names


def _counts(given: Sequence[str] | Mapping[str, int], what: str, usual: int, largest: int) -> dict[str, int]:
    counts = dict(given) if isinstance(given, Mapping) else dict.fromkeys(_names(given, what), usual)
    for name, count in counts.items():
        if type(count) is not int or not 1 <= count <= largest or not isinstance(name, str):
            raise CannotLearn(
                f"{what}={{{name!r}: {count!r}}} is no number of columns",
                where="features",
                fix=f"From 1 up to {largest}.",
            )
    return dict(sorted(counts.items()))


def _edges(name: str, given: Sequence[float]) -> tuple[float, ...]:
    try:
        edges = tuple(float(edge) for edge in given)
    except (TypeError, ValueError):
        edges = ()
    rising = all(low < high for low, high in itertools.pairwise(edges))
    if not edges or len(edges) > LARGEST_VOCABULARY or not rising or not all(map(math.isfinite, edges)):
        raise CannotLearn(
            f"binned={{{name!r}: {str(given)[:80]}}} has no edges, or edges that do not rise",
            where="features",
            fix="Give finite numbers in rising order: n edges make n + 1 bins.",
        )
    return edges
