"""The difference of two lists of rows, for people: which rows are missing, which are too many, which fields differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

Row = Mapping[str, Any]

#: Whether rows have to come in the same order: all of them, those of each key, or none.
Order = Literal["all", "key", "none"]

SHOWN = 8


def difference(
    made: Sequence[Row],
    expected: Sequence[Row],
    *,
    order: Order = "all",
    key: Sequence[str] = (),
    close: bool = False,
    words: tuple[str, str] = ("made", "expected"),
) -> str | None:
    """What differs, in a few lines; None if nothing does. NaN equals NaN; with `close`, floats are equal that agree in
    nine digits. `words` say what the two lists are called."""
    normal: Callable[[Any], Any] = _rounded if close else _exact
    ours, theirs = [_frozen(row, normal) for row in made], [_frozen(row, normal) for row in expected]
    surplus, missing = Counter(ours), Counter(theirs)
    surplus, missing = surplus - missing, missing - surplus
    if surplus or missing:
        return _shown(_picked(made, ours, surplus), _picked(expected, theirs, missing), normal, words)
    if order == "none" or (order == "key" and not key):
        return None
    for index, place in _moved(made, expected, ours, theirs, key if order == "key" else ()):
        which = "" if order == "all" else f" of {_brief({name: made[index][name] for name in key})}"
        return (
            f"  the rows are the same, their order{which} is not:\n"
            f"  {words[0]} here: {_brief(made[index])}\n  {words[1]} here: {_brief(expected[place])}"
        )
    return None


def _moved(
    made: Sequence[Row], expected: Sequence[Row], ours: list[Any], theirs: list[Any], key: Sequence[str]
) -> list[tuple[int, int]]:
    """Places at which rows of one key (of all, without one) differ: in the one list and in the other."""
    places: dict[Any, tuple[list[int], list[int]]] = {}
    for side, rows in enumerate((made, expected)):
        for index, row in enumerate(rows):
            places.setdefault(_frozen({name: row[name] for name in key}, _exact), ([], []))[side].append(index)
    return [
        (index, place)
        for one, other in places.values()
        for index, place in zip(one, other, strict=False)
        if ours[index] != theirs[place]
    ]


def _picked(rows: Sequence[Row], frozen: list[Any], counts: Counter[Any]) -> list[Row]:
    left = counts.copy()
    found = []
    for row, one in zip(rows, frozen, strict=True):
        if left[one] > 0:
            left[one] -= 1
            found.append(row)
    return found


def _shown(surplus: list[Row], missing: list[Row], normal: Callable[[Any], Any], words: tuple[str, str]) -> str:
    lines = []
    rest = list(surplus)
    lonely = []
    for row in missing:
        near = max(rest, key=lambda other: _alike(row, other, normal), default=None)
        if near is None or 2 * _alike(row, near, normal) < len(row):
            lonely.append(row)
            continue
        rest.remove(near)
        apart = [name for name in row if normal(row[name]) != normal(near.get(name))]
        told = ", ".join(f"{name} is {near.get(name)!r}, {words[1]} {row[name]!r}" for name in apart)
        same = {name: value for name, value in row.items() if name not in apart}
        lines.append(f"  ~ {told}  (where {_brief(same)})" if same else f"  ~ {told}")
    lines += [f"  - {words[1]}, not {words[0]}: {_brief(row)}" for row in lonely]
    lines += [f"  + {words[0]}, not {words[1]}: {_brief(row)}" for row in rest]
    more = [f"  … and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([*lines[:SHOWN], *more])


def _alike(one: Row, other: Row, normal: Callable[[Any], Any]) -> int:
    return sum(name in other and normal(value) == normal(other[name]) for name, value in one.items())


def _brief(row: Row) -> str:
    return "{" + ", ".join(f"{name}: {_value(value)}" for name, value in row.items()) + "}"


def _value(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _frozen(row: Row, normal: Callable[[Any], Any]) -> Any:
    return tuple((name, normal(value)) for name, value in row.items())


def _exact(value: Any) -> Any:
    """Something hashable that is equal for equal values."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value
    if isinstance(value, Mapping):
        return _frozen(value, _exact)
    return tuple(map(_exact, value)) if isinstance(value, list) else value


def _rounded(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.9g}")
    if isinstance(value, Mapping):
        return _frozen(value, _rounded)
    return tuple(map(_rounded, value)) if isinstance(value, list) else _exact(value)
