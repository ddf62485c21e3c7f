"""`headwater register --from-topic`: what was found out about a topic, its contract file, and the question whether to
register it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from headwater.cli.session import Session

if TYPE_CHECKING:
    from headwater.from_topic import Adoption
    from streams.infer import FoundField


def register_from_topic(
    session: Session, topic: str, out: Path | None, sample: int, yes: bool, registry: str | None
) -> None:
    """Look at a topic, write its contract to a file, show it, and register it if the user says so."""
    from headwater.from_topic import CannotAdopt
    from streams.odcs import read_contract

    hub = session.hub()
    file = out or Path(f"{topic}.odcs.yaml")
    if file.exists():
        raise CannotAdopt(
            "There is a contract file of this name already",
            where=str(file),
            fix=f"Register it: headwater register {file}. Or name another file: --out FILE.",
        )
    adoption = hub.from_topic(topic, sample=sample, registry=registry)
    file.write_text(adoption.contract, encoding="utf-8")
    if not session.json:
        _show(session, adoption, file)
    registered = yes or (not session.json and _confirmed(topic))
    if registered:
        hub.register_stream(read_contract(file), document=file.read_text(encoding="utf-8"))
    if session.json:
        session.emit(_plain(adoption, file, registered))
    elif registered:
        session.out.line(f"Registered {topic}. Its topic was left as it is.")
    else:
        session.out.line(f"Nothing is registered. Edit {file} if need be, then: headwater register {file}")


def _confirmed(topic: str) -> bool:
    try:
        return typer.confirm(f"Register {topic} like this?")
    except typer.Abort:
        # Nobody there to answer.
        typer.echo()
        return False


def _show(session: Session, adoption: Adoption, file: Path) -> None:
    out, found, stream = session.out, adoption.found, adoption.stream
    out.table(
        ["field", "type", "there", "null", "required", "conflicts", "example"],
        [_row(one) for one in found.fields],
        wrap="conflicts",
    )
    out.line()
    out.facts(
        [
            ("messages looked at", found.messages),
            ("do not follow it", f"{adoption.undecodable}: {adoption.why}" if adoption.undecodable else 0),
            ("key", ", ".join(stream.key) or "none"),
            ("event time", stream.time or "none"),
            ("partitions", stream.partitions),
            ("contract", file),
        ]
    )
    if adoption.notes:
        out.line()
    for note in adoption.notes:
        out.line(note)
    out.line()
    out.line(adoption.contract.rstrip(), "dim")
    out.line()


def _row(one: FoundField) -> tuple[Any, ...]:
    from streams.types import type_text

    conflicts = "; ".join(f"{conflict.count:,} {conflict.kind}, like {conflict.example}" for conflict in one.conflicts)
    kind = "left out" if one.type is None else type_text(one.type)
    return (one.path, kind, f"{one.present / one.of:.1%}", one.nulls, one.required, conflicts, one.example)


def _plain(adoption: Adoption, file: Path, registered: bool) -> dict[str, Any]:
    found, stream = adoption.found, adoption.stream
    names = ("path", "type", "there", "nulls", "required", "conflicts", "example")
    return {
        "stream": stream.name,
        "contract": str(file),
        "registered": registered,
        "messages": found.messages,
        "undecodable": adoption.undecodable,
        "why": adoption.why,
        "key": list(stream.key),
        "time": stream.time,
        "partitions": stream.partitions,
        "fields": [dict(zip(names, _row(one), strict=True)) for one in found.fields],
        "events": None
        if found.events is None
        else {
            "field": found.events.field,
            "kinds": {kind: {"messages": count, "own": own} for kind, (count, own) in found.events.kinds.items()},
        },
        "notes": list(adoption.notes),
    }
