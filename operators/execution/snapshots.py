"""Snapshots: a task's whole state now and then, so that a replay need not start at the beginning.

One snapshot is a run of messages in `<operator>.snapshots`, one a state value, of one transaction.
"""

from __future__ import annotations

from operators.execution.progress import snapshot_topic
from operators.execution.state import State, decode_value, encode_value
from streams.log.protocol import Log, Writer
from streams.message import header, pack_int, unpack_int

#: A snapshot is written with every so many transactions of a task.
EVERY = 100

_SEQ = "hw-seq"


def write_snapshot(writer: Writer, operator: str, task: int, seq: int, state: State) -> None:
    """Append the whole state, as it is after transaction `seq`, to the open transaction."""
    names = list(state)
    if not names:
        return
    writer.append(
        snapshot_topic(operator),
        task,
        [name.encode() for name in names],
        [encode_value(state[name]) for name in names],
        ((_SEQ, pack_int(seq)),),
    )


def read_snapshot(log: Log, operator: str, task: int, before: int) -> tuple[int, State] | None:
    """The newest snapshot of a transaction before `before`: its number and the state; None if there is none."""
    found: dict[str, bytes | None] = {}
    at = -1
    position = 0
    while len(fetched := log.read(snapshot_topic(operator), task, position)):
        for key, value, headers in zip(fetched.keys, fetched.values, fetched.headers, strict=True):
            seq = unpack_int(header(headers, _SEQ) or pack_int(-1))
            if seq >= before:
                continue
            if seq != at:
                found, at = {}, seq
            found[(key or b"").decode()] = value
        position = fetched.next
    if at < 0:
        return None
    return at, State({name: decode_value(value) for name, value in found.items() if value is not None})
