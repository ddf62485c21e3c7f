"""How a join is declared: one function for table, as-of and window joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from operators.join.columns import (
    CannotJoin,
    Fields,
    On,
    Right,
    left_side,
    refuse_unless_copartitioned,
    right_side,
)
from operators.join.lookup import LookupJoin, Side
from operators.join.window import WindowJoin
from operators.operator import Mode, Operator
from streams.duration import Duration, parse_duration
from streams.stream import Stream

How = Literal["table", "asof", "window"]


def join(
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
    name: str | None = None,
    version: str = "1",
) -> Operator:
    """Bring rows of `left` together with rows of `right` that have equal values in the columns `on`.

    `on` is "site", ("dest", "faa") where the names differ, or a list of both. Null and NaN equal nothing.

    - how="table" (the default if the right side is a table): the newest row of the table. A table with an event time
      gives the row that was in force at the left row's time, one without is taken as known from the start. `right`,
      `on` and `fields` may map names to several tables, of which all are looked up in one step.
    - how="asof": the newest right row at or before the left row's event time (before it without `allow_exact`), not
      older than `tolerance`. With `broadcast` every task reads all of the right side.
    - how="window": right rows with -before <= right time - left time <= after; all of them or, with many="one",
      the earliest. The output's event time is `time_name`: the later of both, or for a left row that found none the end
      of its window.

    With kind="left" a left row that finds nothing comes out with nulls, with kind="inner" it does not come out.

    Left columns (`left_fields`, and always the key and the event time) keep their names. Right columns (`fields`;
    without it all but those in `on`) are named `prefix` + name, the prefix being the right stream's last name and "_"
    (for several tables, the name that they are given here); `fields={column: name}` names them as it likes.

    Rows wait until the clock has passed them by `lateness`. What comes later than that goes to `<to>.late`, except
    for the rows of tables and of a broadcast right side, which take effect from then on. `tick` says how
    often (in event time) waiting rows are looked at while no input brings any.

    Raises CannotJoin for what cannot be joined, NotCoPartitioned if rows with equal keys could not meet in one task.
    """
    several = not isinstance(right, Stream)
    rights: dict[str, Stream] = dict(right) if isinstance(right, Mapping) else {right.name: right}
    if not rights:
        raise CannotJoin("There is nothing on the right side.", where=to)
    how = how or _default_how(rights, to)
    _refuse_misplaced(to, how, several, broadcast, tolerance, allow_exact, before, after, many)
    mode: Mode = "broadcast" if how == "table" or broadcast else "partitioned"
    sides = []
    for given, stream in rights.items():
        their_on: Any = on[given] if several and isinstance(on, Mapping) and given in on else on
        their_fields: Any = fields.get(given) if several and isinstance(fields, Mapping) else fields
        if several and their_on is on:
            raise CannotJoin(
                f"on= does not say how {given!r} is joined.", where=to, fix=f"Add {given!r}: column to it."
            )
        own_prefix = f"{given.rpartition('.')[2]}_" if prefix is None else prefix
        sides.append(right_side(given, stream, left, their_on, their_fields, own_prefix, mode))
    keys = [column for side in sides for column in side.left_key]
    left_columns = left_side(left, left_fields, keys)
    _refuse_streams(to, how, left, sides)
    choices: dict[str, Any] = {
        "inner": kind == "inner",
        "lateness": parse_duration(lateness),
        "tick": None if tick is None else parse_duration(tick),
        "version": version,
    }
    if how == "window":
        return WindowJoin(
            name or to,
            to,
            left_columns,
            sides[0],
            before=parse_duration(before or 0),
            after=parse_duration(after or 0),
            first_only=many == "one",
            time_name=time_name,
            **choices,
        )
    limit = None if tolerance is None else parse_duration(tolerance)
    memories = [Side(side, limit, allow_exact) for side in sides]
    return LookupJoin(name or to, to, left_columns, memories, how=how, **choices)


def _default_how(rights: Mapping[str, Stream], to: str) -> How:
    if all(stream.kind == "table" for stream in rights.values()):
        return "table"
    raise CannotJoin(
        f"{', '.join(stream.name for stream in rights.values())}: not every right side is a table, so how= is needed.",
        where=to,
        fix='Use how="asof" for the newest row so far or how="window" for rows within a span of time.',
    )


def _refuse_misplaced(
    to: str,
    how: How,
    several: bool,
    broadcast: bool,
    tolerance: Duration | None,
    allow_exact: bool,
    before: Duration | None,
    after: Duration | None,
    many: str,
) -> None:
    """Options that another kind of join has."""
    if how not in ("table", "asof", "window"):
        raise CannotJoin(f"how={how!r} is not a join.", where=to, fix='It is "table", "asof" or "window".')
    misplaced = []
    if how != "table" and several:
        misplaced.append("several right sides")
    if how == "window" and broadcast:
        misplaced.append("broadcast")
    if how != "asof" and (tolerance is not None or not allow_exact):
        misplaced.append("tolerance and allow_exact")
    if how != "window" and (before is not None or after is not None or many != "all"):
        misplaced.append("before, after and many")
    if misplaced:
        raise CannotJoin(f"A join with how={how!r} does not take {', '.join(misplaced)}.", where=to)
    if how == "window" and before is None and after is None:
        raise CannotJoin(
            "A window join needs to know how wide its window is.",
            where=to,
            fix='Give before= and after=, for example after="1h".',
        )


def _refuse_streams(to: str, how: How, left: Stream, sides: Sequence[Right]) -> None:
    for side in sides:
        stream = side.stream
        if stream.name == left.name:
            raise CannotJoin("A stream cannot be joined with itself.", where=to, fix="Make a second stream with a map.")
        if left.time is None and (how != "table" or stream.time is not None):
            raise CannotJoin(f"{left.name} has no event time.", where=to, fix="Declare it with time=.")
        if how != "table" and stream.time is None:
            raise CannotJoin(
                f"{stream.name} has no event time.",
                where=to,
                fix='Declare it with time=, or join it with how="table".',
            )
        if how == "table" and stream.kind == "table" and set(stream.key) != set(side.key):
            raise CannotJoin(
                f"{stream.name} is a table by {', '.join(stream.key)}, and is joined on {', '.join(side.key)}.",
                where=to,
                fix="Join it on its key; for another one, declare a table with that key.",
            )
        if side.mode == "partitioned":
            refuse_unless_copartitioned(left, side, can_broadcast=how == "asof")
