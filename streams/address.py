"""Row addresses as people write them, and what is wrong with one that leads nowhere."""

from __future__ import annotations

import re

from catalog.errors import HeadwaterError
from streams.log.protocol import Log
from streams.message import RowAddress

_ADDRESS = re.compile(r"(?P<stream>\S+)\s+(?P<partition>\d{1,9}):(?P<offset>\d{1,18}):(?P<row>\d{1,9})")


class BadAddress(HeadwaterError):
    """A text that is no row address."""

    exit_code = 2


class NoSuchRow(HeadwaterError):
    """An address at which there is no row, and never was one."""

    exit_code = 4


def parse_address(text: str) -> RowAddress:
    """`plant.placed 0:1042:17` as an address: stream, partition, offset of the message, row within it (from 0).

    BadAddress for any other text. Whether there is such a row is not looked at.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        raise BadAddress(
            f"{text!r} is no row address.",
            fix="Write stream, partition, offset and row, as in 'plant.placed 0:1042:17'; rows that were read have "
            "theirs as .address.",
        )
    return RowAddress(found["stream"], int(found["partition"]), int(found["offset"]), int(found["row"]))


def readable(log: Log, stream: str) -> str:
    """The offsets of a stream that can be read, for people."""
    parts = [
        f"{number}:{first} to {number}:{end - 1}" if end > first else f"{number} is empty"
        for number, (first, end) in enumerate(log.bounds(stream))
    ]
    shown = ", ".join(parts[:8]) + (f" and {len(parts) - 8} more partitions" if len(parts) > 8 else "")
    return f"Readable in {stream} (partition:offset): {shown}."


def check_place(log: Log, stream: str, partition: int, offset: int) -> None:
    """NoSuchRow if nothing was ever appended there; what is gone by now has been there."""
    bounds = log.bounds(stream)
    if not 0 <= partition < len(bounds):
        what = f"There is no partition {partition}"
    elif not 0 <= offset < bounds[partition][1]:
        what = f"There is no offset {offset} in partition {partition}"
    else:
        return
    raise NoSuchRow(what, where=f"{stream} {partition}:{offset}", fix=readable(log, stream))
